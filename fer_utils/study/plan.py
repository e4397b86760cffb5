"""What a command line asks for: the study's notebooks as jobs, checked before anything runs."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fer_utils import config
from fer_utils.base import PARAMS, ROOT, DataError, ParameterError
from fer_utils.runs import claims, committed

# chapter: its notebook and priority; the later ones show finished runs, and each paper has a
# chapter of its own, executed by one notebook
FIRST = {"explore": ("01_explore", 3), "preprocess": ("02_preprocess", 3),
         "balance": ("03_balance", 2)}  # fmt: skip
LATER = {"compare": ("07_compare", 0), "errors": ("08_errors", 0), "network": ("09_fer_net", 0),
         "report": ("report", 0)}  # fmt: skip
CHAPTERS = {name: notebook for name, (notebook, _) in (FIRST | LATER).items()}
MODEL_NOTEBOOKS = {"builder": "04_train", "pipeline": "05_classical"}
PAPER = "06_paper"
OWN_NETWORKS = ("fer_net", "fer_net_large")  # of the chapter `network`
FILES = ("photo", "landmarks", "votes")  # the parameters of notebooks that are paths
WITH_VOTES = ("explore", "errors", "network")
TRIALS = ROOT / "results" / "reference" / "trials.csv"
PROJECT = ".project"  # the link to the project in a study's folder
CLAIMS = [f"{PROJECT}/params/papers/{path.name}" for path in sorted(PARAMS.glob("papers/*.yaml"))]


@dataclass
class Job:
    """One notebook: the Snakefile makes a rule of it."""

    name: str  # as the terminal shows it
    notebook: str
    folder: str  # of its output, relative to the study
    parameters: dict[str, Any]
    priority: int = 0
    needs: list[str] = field(default_factory=list)  # files, relative to the study
    depends: Any = None  # what else makes it run again when it changes

    @property
    def output(self) -> str:
        return f"{self.folder}/notebook.ipynb"


@dataclass
class Study:
    """The study that a command line asks for."""

    profile: str
    data: str
    folder: Path
    parallel: int  # notebooks side by side
    recipes: dict[str, list[dict[str, Any]]]  # of each model, the common protocol first
    runs: list[str]  # folders of the selected runs
    jobs: list[Job]
    targets: list[str]

    def configuration(self) -> dict[str, Any]:
        """What the Snakefile and the report read, as JSON."""
        return asdict(self) | {
            "folder": str(self.folder),
            "jobs": [asdict(job) | {"output": job.output} for job in self.jobs],
        }

    def write_recipes(self) -> None:
        """Write the resolved recipe of every selected run, params.json, into its folder."""
        from fer_utils.runs import store

        for run in self.runs:
            _, model, seed = Path(run).parts
            for recipe in self.recipes[model]:
                store.write_recipe(self.folder, recipe, int(seed.removeprefix("seed_")))


def study(options: argparse.Namespace) -> Study:
    """The study of a command line; ParameterError when something is wrong."""
    profile, name = _profile(options)
    data = _source(options, profile, name)
    folder = _absolute(options.results) if options.results else ROOT / "results"
    folder /= "check" if options.check_reference else Path(name).stem
    claims.read()  # a wrong one stops the study here, not after the training
    found = sorted(folder.glob("runs/*/seed_*/metrics.json"))
    finished = [str(path.parent.relative_to(folder)) for path in found]
    models, chapters = _selection(options, profile, data, folder, finished)
    recipes = {model: _recipes(model, name) for model in models}
    runs = [
        f"runs/{model}/seed_{seed}"
        for model, (recipe, *_) in recipes.items()
        # only networks depend on the seed
        for seed in (profile["seeds"] if "builder" in recipe else profile["seeds"][:1])
    ]
    kept = [run for run in finished if run not in runs]
    _check_titles(recipes, {model_of(run) for run in kept})
    with_report = not options.only or bool(models) or "report" in chapters
    if options.check_reference:
        chapters, kept, with_report = [], [], False
    values = _parameters(options, profile, data, folder, name)
    jobs = [_chapter(each, values) for each in FIRST if each in chapters]
    records = [f"{run}/notebook.ipynb" for run in runs] + [_shown_by(run, folder) for run in kept]
    jobs += [_of_run(run, recipes[model_of(run)], values) for run in runs]
    shown = _shown(chapters, with_report, folder, {model_of(run) for run in runs + kept})
    jobs += [_chapter(each, values, records) for each in shown]
    if with_report:
        report = _chapter("report", values, records)
        there = [name for name in FIRST if (folder / name / "notebook.ipynb").is_file()]
        places = {*there, *(job.folder for job in jobs)} - {*runs}
        report.needs += [f"{place}/notebook.ipynb" for place in sorted(places)]
        jobs.append(report)
    targets = [job.output for job in jobs if job.folder not in runs]
    targets += [f"{run}/notebook.ipynb" for run in runs]
    return Study(
        profile=name,
        data=data,
        folder=folder,
        parallel=options.jobs or profile.get("jobs", 1),
        recipes=recipes,
        runs=runs,
        jobs=jobs,
        targets=["report.html"] if with_report else targets,
    )


def _shown_by(run: str, folder: Path) -> str:
    """The file by which chapters know a finished run; one trained alone has no notebook."""
    notebook = f"{run}/notebook.ipynb"
    return notebook if (folder / notebook).is_file() else f"{run}/metrics.json"


def _profile(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The profile with the seeds of the command line, and its name or path."""
    name = options.profile or ("full" if options.data else "demo")
    if options.check_reference and name != "full":
        raise ParameterError(f"--check-reference runs profile full, not {name}")
    profile = config.profile(name)
    if options.seeds:
        if options.check_reference:
            raise ParameterError("--check-reference repeats the reference's own seed: no --seeds")
        config.check_seeds("--seeds", *options.seeds)
        profile["seeds"] = options.seeds
    own = name.endswith((".yaml", ".yml"))
    return profile, str(Path(name).absolute()) if own else name


def _source(options: argparse.Namespace, profile: dict[str, Any], name: str) -> str:
    """Where the images come from: a name, or an absolute path."""
    source = options.data or profile.get("data")
    if source is None:
        raise ParameterError(f"profile {Path(name).stem} needs your data: give --data PATH")
    if name == "demo" and not source.startswith("synthetic"):
        raise ParameterError("profile demo is for the embedded faces; --data needs quick or full")
    named = re.fullmatch(r"(synthetic|kaggle)(:.*)?", source)
    return source if named else str(_absolute(source))


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _selection(
    options: argparse.Namespace,
    profile: dict[str, Any],
    data: str,
    folder: Path,
    finished: list[str],
) -> tuple[list[str], list[str]]:
    """The models and chapters to run; `finished` are the runs that the study's folder has."""
    models = profile.get("models") or config.standard_models()
    chapters = [*CHAPTERS, *claims.papers()]
    if options.only:
        known = [*config.names("models"), *chapters]
        for name in options.only:
            _check_known(name, known)
        chapters = [name for name in chapters if name in options.only]
        asked = {*options.only}
        for name in set(claims.papers()) & asked:  # a paper's chapter shows its own networks
            asked |= {*claims.needs(name)}
        models = [name for name in config.names("models") if name in asked]
    about_runs = {"compare", "errors", "report"} & set(chapters)
    if about_runs == {"errors"} and not data.startswith("synthetic") and committed.available():
        about_runs = set()  # it shows the committed network
    where = f"--only {' '.join(chapters)}: {folder} has no finished run"
    if about_runs and not (models or finished):
        raise ParameterError(f"{where}; run models first")
    if not {*OWN_NETWORKS} & {*models, *map(model_of, finished)}:
        if options.only and "network" in chapters:
            own = ", ".join(OWN_NETWORKS)
            raise ParameterError(f"{where} of {own}; run one with it: --only fer_net network")
        chapters = [name for name in chapters if name != "network"]
    return models, chapters


def _check_known(name: str, known: list[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    if "," in name:
        hint = "separate names with spaces, without commas; "
    raise ParameterError(
        f"--only: unknown model, chapter or paper '{name}'; {hint}known are {', '.join(known)}"
    )


def model_of(run: str) -> str:
    """The model of a run's folder in a study, runs/<model>/seed_<n>."""
    return Path(run).parts[1]


def _of_file(model: str) -> dict[str, Any]:
    """A model's file; nothing where it was deleted since the model ran."""
    path = PARAMS / "models" / f"{model}.yaml"
    return config.read_yaml(path) if path.is_file() else {}


def _check_titles(recipes: dict[str, list[dict[str, Any]]], others: set[str]) -> None:
    """ParameterError for two models of one title, which no table or figure could tell apart."""
    seen = {of["title"]: name for name in others if (of := _of_file(name))}
    for name, (params, *_) in recipes.items():
        other = seen.setdefault(params["title"], name)
        if other != name:
            raise ParameterError(
                f"params/models/{name}.yaml: `title` is '{params['title']}', which {other} has too"
            )


def _recipes(model: str, profile: str) -> list[dict[str, Any]]:
    """The complete parameters of a model, under each of its protocols."""
    from fer_utils.training import transfer
    from fer_utils.training.task import check_network

    params = config.model(model, profile)
    check_network(params)
    if "builder" not in params:
        return [params]
    return [transfer.settle(each) for each in config.protocols(model, profile)]


def _parameters(
    options: argparse.Namespace, profile: dict[str, Any], data: str, folder: Path, name: str
) -> dict[str, dict[str, Any]]:
    """The parameters of each notebook: the command line, over it the profile's own values."""
    shared: dict[str, Any] = {"study": str(folder), "data": data}
    if options.on_bad != "error":
        shared["on_bad"] = options.on_bad
    if options.resize:
        shared["resize"] = True
    votes = {"votes": str(_absolute(options.votes))} if options.votes else {}
    of: dict[str, dict[str, Any]] = {chapter: dict(shared) for chapter in CHAPTERS}
    of |= {
        notebook: shared | {"profile": name, "planned": True}
        for notebook in MODEL_NOTEBOOKS.values()
    }
    of[PAPER] = dict(shared)
    of["report"] = {"study": str(folder)}
    for chapter in WITH_VOTES:
        of[chapter] |= votes
    notebooks = {notebook: key for key, notebook in CHAPTERS.items()}
    for notebook, given in profile.get("notebooks", {}).items():
        key = notebooks.get(notebook, notebook)
        of[key] |= {name: _own_value(notebook, name, value) for name, value in given.items()}
    return of


def _own_value(notebook: str, key: str, value: Any) -> Any:
    """A notebook's parameter in a profile; relative paths count from the working directory."""
    if key not in FILES:
        return value
    if not isinstance(value, str):
        raise ParameterError(
            f"notebooks.{notebook}.{key} is {value!r} but must be a path, or empty"
        )
    return str(_absolute(value)) if value else ""


def _shown(chapters: list[str], report: bool, folder: Path, models: set[str]) -> list[str]:
    """The chapters on runs: those asked for, and with a report those that it already has."""
    later = [*claims.papers(), *(name for name in LATER if name != "report")]
    if not report:
        return [name for name in later if name in chapters]
    there = [name for name in later if (folder / name / "notebook.ipynb").is_file()]
    shown = [name for name in later if name in {*chapters, *there, "compare"}]
    return [name for name in shown if name != "network" or {*OWN_NETWORKS} & models]


def _chapter(name: str, values: dict[str, dict[str, Any]], runs: list[str] | None = None) -> Job:
    if name not in CHAPTERS:
        needs = [run for run in runs or () if model_of(run) in claims.needs(name)]
        given = values[PAPER] | {"paper": name}
        return Job(f"{PAPER} {name}", PAPER, name, given, 0, [*needs, *CLAIMS])
    notebook, priority = (FIRST | LATER)[name]
    job = Job(notebook, notebook, name, values[name], priority, [*(runs or ())])
    if name in ("compare", "report"):
        job.needs += CLAIMS
    files = [values[name][key] for key in FILES if values[name].get(key)]
    if name == "preprocess":
        files += _landmarks(values[name].get("landmarks", ""))
    elif name == "network":
        job.needs = [run for run in job.needs if run.split("/")[1] in OWN_NETWORKS]
        if TRIALS.is_file():
            job.needs.append(f"{PROJECT}/{TRIALS.relative_to(ROOT)}")
    there = [path for path in dict.fromkeys(files) if Path(path).is_file()]
    job.depends = {path: Path(path).stat().st_mtime_ns for path in there}
    return job


def _landmarks(path: str) -> list[str]:
    """The landmark model that the chapter on preprocessing would find."""
    from fer_utils.data import preprocess

    with contextlib.suppress(DataError):
        return [str(preprocess.landmark_model(path))]
    return []


def _of_run(run: str, recipes: list[dict[str, Any]], values: dict[str, dict[str, Any]]) -> Job:
    _, model, seed = Path(run).parts
    notebook = next(name for key, name in MODEL_NOTEBOOKS.items() if key in recipes[0])
    number = int(seed.removeprefix("seed_"))
    parameters = values[notebook] | {"model": model, "seed": number}
    name = f"{notebook} {model}" + (f" seed {number}" if notebook == "04_train" else "")
    return Job(
        name, notebook, run, parameters, 1, [*CLAIMS] if notebook == "04_train" else [], recipes
    )
