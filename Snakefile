# The study as a graph, one rule per notebook. `run_all.sh` calls it with the study's folder as
# working directory and the study's settings (fer_utils/study/plan.py) as configuration.
import json
import shlex
from pathlib import Path

from fer_utils.study.plan import OWN_NETWORKS

MODELS = config["models"]
CLASSICAL = config["classical"]  # those of the models that are no networks
ENSEMBLES = config["ensembles"]  # those that average the others
PARAMETERS = config["parameters"]  # what each notebook is given
# the notebooks of the runs, and the files of finished runs that are compared but not selected now
RUNS = sorted([f"{run}/notebook.ipynb" for run in config["runs"]] + config["kept"])
CHAPTERS = config["chapters"]

CLAIMS = sorted(str(path) for path in (Path(workflow.basedir) / "params" / "papers").glob("*.yaml"))

# the trials that the chapter on the study's own network shows
TRIALS = Path(workflow.basedir) / PARAMETERS["network"].get("trials", "results/reference/trials.csv")

EXECUTE = (
    f"{shlex.quote(config['python'])} -m fer_utils.study.execute {{input.notebook}} {{output.notebook}}"
    " --failed {params.failed} --name {params.name:q} --parameters {params.parameters:q}"
)


# the helper package: a change re-runs the notebooks, which present runs that are up to date
PACKAGE = Path(workflow.basedir) / "fer_utils"
REPORT = sorted(str(path) for path in (PACKAGE / "report").rglob("*") if path.suffix in (".py", ".css", ".js", ".j2"))
ROOMS = [room for room in PACKAGE.iterdir() if room.name not in ("study", "extras", "report")]
CODE = sorted(str(path) for room in ROOMS for path in [room, *room.rglob("*.py")] if path.suffix == ".py")


def notebook(name):
    return f"{workflow.basedir}/notebooks/{name}.ipynb"


wildcard_constraints:
    model="|".join(m for m in MODELS if m not in CLASSICAL + ENSEMBLES) or "none",
    pipeline="|".join(CLASSICAL) or "none",
    ensemble="|".join(ENSEMBLES) or "none",
    seed=r"\d+",


rule all:
    input:
        config["targets"],


if "explore" in CHAPTERS:

    rule explore:
        input:
            notebook=notebook("01_explore"),
            code=CODE,
        output:
            notebook=update("explore/notebook.ipynb"),
        params:
            name="01_explore",
            failed="failed/explore.ipynb",
            parameters=json.dumps(PARAMETERS["explore"]),
            content=config["content"],
            votes=config["votes_content"]["explore"],
        priority: 3
        message:
            "notebook 01_explore"
        shell:
            EXECUTE


if "preprocess" in CHAPTERS:

    rule preprocess:
        input:
            notebook=notebook("02_preprocess"),
            code=CODE,
        output:
            notebook=update("preprocess/notebook.ipynb"),
        params:
            name="02_preprocess",
            failed="failed/preprocess.ipynb",
            parameters=json.dumps(PARAMETERS["preprocess"]),
            content=config["content"],
            more=json.dumps(config["preprocess_content"]),
        priority: 3
        message:
            "notebook 02_preprocess"
        shell:
            EXECUTE


if "balance" in CHAPTERS:

    rule balance:
        input:
            notebook=notebook("03_balance"),
            code=CODE,
        output:
            notebook=update("balance/notebook.ipynb"),
        params:
            name="03_balance",
            failed="failed/balance.ipynb",
            parameters=json.dumps(PARAMETERS["balance"]),
            content=config["content"],
        priority: 2
        message:
            "notebook 03_balance"
        shell:
            EXECUTE


def finished(*models):
    """The notebooks or records of all runs of some models."""
    return [run for run in RUNS if run.split("/")[1] in models]


rule train:
    input:
        notebook=notebook("04_train"),
        model=f"{workflow.basedir}/params/models/{{model}}.yaml",
        claims=CLAIMS,
        code=CODE,
    output:
        # the run's other files are not listed: Snakemake removes the outputs of a failed job, and
        # a trained network must outlive a failing figure
        notebook=update("runs/{model}/seed_{seed}/notebook.ipynb"),
    params:
        name="04_train {model} seed {seed}",
        failed="failed/{model}_seed_{seed}.ipynb",
        parameters=lambda wildcards: json.dumps(
            PARAMETERS["train"] | {"model": wildcards.model, "seed": int(wildcards.seed)}
        ),
        content=config["content"],
        # the profile's limits are part of what is run: a change in them re-runs the model
        complete=lambda wildcards: json.dumps(config["complete"][wildcards.model]),
    priority: 1
    message:
        "notebook 04_train {wildcards.model} seed {wildcards.seed}"
    shell:
        EXECUTE


rule classical:
    input:
        notebook=notebook("05_classical"),
        model=f"{workflow.basedir}/params/models/{{pipeline}}.yaml",
        code=CODE,
    output:
        notebook=update("runs/{pipeline}/seed_{seed}/notebook.ipynb"),
    params:
        name="05_classical {pipeline}",
        failed="failed/{pipeline}_seed_{seed}.ipynb",
        parameters=lambda wildcards: json.dumps(
            PARAMETERS["classical"] | {"model": wildcards.pipeline, "seed": int(wildcards.seed)}
        ),
        content=config["content"],
        complete=lambda wildcards: json.dumps(config["complete"][wildcards.pipeline]),
    priority: 1
    message:
        "notebook 05_classical {wildcards.pipeline}"
    shell:
        EXECUTE


rule ensemble:
    input:
        notebook=notebook("05_ensemble"),
        model=f"{workflow.basedir}/params/models/{{ensemble}}.yaml",
        code=CODE,
        runs=lambda wildcards: finished(*config["complete"][wildcards.ensemble][0]["members"]),
    output:
        notebook=update("runs/{ensemble}/seed_{seed}/notebook.ipynb"),
    params:
        name="05_ensemble {ensemble}",
        failed="failed/{ensemble}_seed_{seed}.ipynb",
        parameters=lambda wildcards: json.dumps(
            PARAMETERS["ensemble"] | {"model": wildcards.ensemble, "seed": int(wildcards.seed)}
        ),
        content=config["content"],
    message:
        "notebook 05_ensemble {wildcards.ensemble}"
    shell:
        EXECUTE


rule compare:
    input:
        notebook=notebook("06_compare"),
        claims=CLAIMS,
        code=CODE,
        runs=RUNS,
    output:
        notebook=update("compare/notebook.ipynb"),
    params:
        name="06_compare",
        failed="failed/compare.ipynb",
        parameters=json.dumps(PARAMETERS["compare"]),
    message:
        "notebook 06_compare"
    shell:
        EXECUTE


rule errors:
    input:
        notebook=notebook("07_errors"),
        code=CODE,
        runs=RUNS,
    output:
        notebook=update("errors/notebook.ipynb"),
    params:
        name="07_errors",
        failed="failed/errors.ipynb",
        parameters=json.dumps(PARAMETERS["errors"]),
        content=config["content"],
        votes=config["votes_content"]["errors"],
        more=config["photo_content"],
    message:
        "notebook 07_errors"
    shell:
        EXECUTE


rule network:
    input:
        notebook=notebook("09_fer_net"),
        code=CODE,
        trials=[TRIALS] if TRIALS.is_file() else [],
        runs=finished(*OWN_NETWORKS),
    output:
        notebook=update("network/notebook.ipynb"),
    params:
        name="09_fer_net",
        failed="failed/network.ipynb",
        parameters=json.dumps(PARAMETERS["network"]),
        content=config["content"],
        votes=config["votes_content"]["network"],
    message:
        "notebook 09_fer_net"
    shell:
        EXECUTE


rule report:
    input:
        notebook=notebook("report"),
        code=[*CODE, *REPORT],
        chapters=[f"{chapter}/notebook.ipynb" for chapter in config["report_chapters"]],
        runs=RUNS,
    output:
        notebook=update("report/notebook.ipynb"),
        html=update("report.html"),
    params:
        name="report",
        failed="failed/report.ipynb",
        parameters=json.dumps(PARAMETERS["report"]),
    message:
        "notebook report"
    shell:
        f"{EXECUTE} && {shlex.quote(config['python'])} -m fer_utils.report ."
