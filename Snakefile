# The study as a graph: one rule for each notebook of the table that fer_utils/study/plan.py makes.
# `run_all.sh` calls it with the study's folder as working directory and the table as configuration.
# There .project is a link to the project, so that no name of the user's folders is part of a rule.
import json
import shlex
from pathlib import Path

PROJECT = Path(".project")
PYTHON = shlex.quote(config["python"])


def plain(text):
    """A parameter in which braces, as of a path, are no wildcards."""
    return lambda wildcards: text


def files(*rooms):
    endings = (".py", ".css", ".js", ".j2")
    return sorted(str(path) for room in rooms for path in room.rglob("*") if path.suffix in endings)


# a change in the package runs the notebooks again; they present the runs that are up to date
ROOMS = [room for room in (PROJECT / "fer_utils").iterdir() if room.is_dir()]
CODE = files(*(room for room in ROOMS if room.name not in ("study", "extras", "report")))
CODE += sorted(map(str, (PROJECT / "fer_utils").glob("*.py")))


rule all:
    input:
        config["targets"],


for job in config["jobs"]:
    is_report = job["folder"] == "report"

    rule:
        name:
            job["folder"].replace("/", "_")
        input:
            notebook=str(PROJECT / "notebooks" / f"{job['notebook']}.ipynb"),
            code=CODE + files(PROJECT / "fer_utils" / "report") * is_report,
            needs=job["needs"],
        output:
            # a run's other files are not listed: Snakemake removes the outputs of a failed job, and
            # a trained network must outlive a figure that fails
            notebook=update(job["output"]),
            **({"html": update("report.html")} if is_report else {}),
        params:
            name=job["name"],
            failed=f"failed/{job['folder'].removeprefix('runs/').replace('/', '_')}.ipynb",
            parameters=plain(json.dumps(job["parameters"])),
            depends=plain(json.dumps([job["depends"], config["content"]])),
            # as parameters: Snakemake makes the command when the job runs, after this loop
            python=plain(PYTHON),
            page=plain(f"&& {PYTHON} -m fer_utils.report ." if is_report else ""),
        priority: job["priority"]
        message:
            f"notebook {job['name']}"
        shell:
            "{params.python} -m fer_utils.study.execute {input.notebook:q} {output.notebook:q}"
            " --failed {params.failed:q} --name {params.name:q} --parameters {params.parameters:q}"
            " {params.page}"
