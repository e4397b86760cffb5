"""The HTML report: the outputs of a study's executed notebooks in one self-contained page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_utils.base import ResultError, write_text
from fer_utils.report import notebook, troubles
from fer_utils.runs.store import Run, finished_runs, on_same_data

HERE = Path(__file__).parent
OPENING = ("report", "compare")
FURTHER = ("errors", "network", "explore", "balance", "preprocess", "benchmark")


@dataclass(frozen=True)
class Chapter:
    """One executed notebook in the report."""

    id: str
    title: str
    body: str
    notebook: str  # relative to the report
    score: str = ""  # of a model


def build(study: str | Path) -> Path:
    """Write report.html of a study folder from its executed notebooks; returns its path.

    Models and chapters without a finished run are named at the top of the page.
    """
    study = Path(study).absolute()
    found = finished_runs(study)
    runs, others = on_same_data(found) if found else ([], [])
    plan = read_plan(study)
    models = [_model_chapter(study, run) for run in runs if _executed(run.folder)]
    opening, further = _chapters(study, OPENING), _chapters(study, FURTHER)
    if not (opening or models or further):
        raise ResultError(f"{study}: there is no executed notebook to make a report of")
    text = _page().render(
        opening=opening,
        models=models,
        further=further,
        troubles=troubles.find(study, plan, runs, others),
        facts=facts(runs, plan),
        synthetic=_synthetic(runs, plan),
        repeats=[repeat(run, plan) for run in runs],
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )
    write_text(study / "report.html", text)
    return study / "report.html"


def read_plan(study: Path) -> dict[str, Any]:
    """What the study was asked to run (study.json); nothing where it was not started as a study."""
    path = study / "study.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ResultError(f"{path}: cannot be read ({error}); start the study again") from None


def facts(runs: list[Run], plan: dict[str, Any]) -> dict[str, str]:
    """Date and provenance of the numbers, for the head of the page."""
    if not runs:
        return {"Data": Path(plan.get("data", "unknown")).name}
    data, machines = runs[0].metrics["data"], [run.metrics["environment"] for run in runs]
    splits = ", ".join(f"{n:,} {split}" for split, n in data["totals"].items())
    models, seeds = ({run.metrics[key] for run in runs} for key in ("run_id", "seed"))
    count = f"{_count(len(models), 'model')}, {_count(len(seeds), 'seed')}"
    return {
        "Date": max(run.metrics["timing"]["finished_at"] for run in runs)[:10],
        "Data": f"{sum(data['totals'].values()):,} images from {data['source']} ({splits})",
        "SHA-256 of the data": data["sha256"],
        "Study": f"{count}, profile {profile(plan)}" if plan else count,
        "Code": _each(shortened(machine["git_commit"]) for machine in machines),
        "Machine": _each(
            f"{m.get('processor', m['device'])}, {m['cores']} cores" for m in machines
        ),
        "Precision": _each(machine["precision"] for machine in machines),
    }


def repeat(run: Run, plan: dict[str, Any]) -> dict[str, str]:
    """The command that makes a run's numbers again, and the commit that made them."""
    data, environment = run.metrics["data"], run.metrics["environment"]
    given = plan.get("parameters", {}).get("train", {})
    words = ["./run_all.sh", "--data", data["source"] if data["synthetic"] else "PATH"]
    words += ["--profile", profile(plan)] if plan else []
    words += ["--on-bad", given["on_bad"]] if "on_bad" in given else []
    words += ["--resize"] if given.get("resize") else []
    # an ensemble is made again of its members; a classical system has one seed
    networks = list(run.metrics["model"].get("members", ()))
    if "builder" in run.metrics["params"]:
        networks = [run.place]
    seeds = sorted({int(Path(place).parts[2].removeprefix("seed_")) for place in networks})
    words += ["--seeds", *map(str, seeds)] if seeds not in ([], [0]) else []
    members = (Path(place).parts[1] for place in run.metrics["model"].get("members", ()))
    only = dict.fromkeys([*members, run.metrics["run_id"]])
    return {
        "label": run.label,
        "protocol": run.metrics["protocol"]["name"],
        "accuracy": f"{run.test['accuracy']:.1%}",
        "split": run.metrics["protocol"]["test"],
        "command": " ".join([*words, "--only", *only]),
        "commit": shortened(environment["git_commit"]),
        "record": f"{run.place}/metrics.json",
    }


def profile(plan: dict[str, Any]) -> str:
    """Name of the study's profile; of a file of the user's own, the file's name."""
    return Path(plan["profile"]).name


def shortened(commit: str) -> str:
    """A commit's first twelve digits, with the note on local changes if there is one."""
    digits, space, note = commit.partition(" ")
    return f"{digits[:12]}{space}{note}"


def _page() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(HERE)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return page.get_template("page.html.j2")


def _executed(folder: Path) -> bool:
    return (folder / "notebook.ipynb").is_file()


def _chapters(study: Path, names: tuple[str, ...]) -> list[Chapter]:
    return [
        Chapter(name, *notebook.read(study / name / "notebook.ipynb"), _beside(name))
        for name in names
        if _executed(study / name)
    ]


def _model_chapter(study: Path, run: Run) -> Chapter:
    identity = f"{run.metrics['run_id']}-seed-{run.metrics['seed']}"
    _, body = notebook.read(run.folder / "notebook.ipynb", level=2)
    score, protocol = run.test, run.metrics["protocol"]
    told = (
        f"{score['accuracy']:.1%} of {score['n']:,} {protocol['test']} images right "
        f"({score['accuracy_low']:.1%} to {score['accuracy_high']:.1%})"
    )
    if len(protocol["classes"]) != 7:
        told += f", {len(protocol['classes'])} classes"
    return Chapter(identity, run.label, body, _beside(run.place), told)


def _beside(place: str) -> str:
    return f"{place}/notebook.ipynb"


def _synthetic(runs: list[Run], plan: dict[str, Any]) -> bool:
    if runs:
        return runs[0].metrics["data"]["synthetic"]
    return plan.get("data", "").startswith("synthetic")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _each(values: Any) -> str:
    """The different ones of some values, in their order."""
    return "; ".join(dict.fromkeys(values))
