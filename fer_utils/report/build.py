"""One self-contained HTML page of a study's executed notebooks, by the nbconvert template here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from fer_utils.base import ResultError, write_text
from fer_utils.report import troubles
from fer_utils.runs.store import Run, finished_runs, on_same_data

OPENING = ("report", "compare")
FURTHER = ("errors", "network", "explore", "balance", "preprocess", "benchmark")
HIDDEN = {"setup", "parameters", "injected-parameters"}
METHODS = "## Methods and limits"  # the page has one such section for all chapters, at its end


@dataclass
class Chapter:
    """One executed notebook in the report."""

    id: str
    notebook: str  # relative to the report
    title: str = ""
    score: str = ""  # of a model
    cells: list[Any] = field(default_factory=list)


class Renderer(IPythonRenderer):
    """Markdown as nbconvert renders it, with headings some levels deeper."""

    deeper = 1

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        return super().heading(text, min(level + self.deeper, 6), **attributes)


class Page(HTMLExporter):
    """All chapters by the template of this folder; their headings stand below the page's."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        renderer = Renderer(escape=False, exclude_anchor_links=True)
        renderer.deeper = 2 if context["chapter"].score else 1
        return MarkdownWithMath(renderer=renderer).render(source)


def write_report(study: str | Path) -> Path:
    """Write report.html of a study folder from its executed notebooks; returns its path.

    Models and chapters without a finished run are named at the top of the page.
    """
    study = Path(study).absolute()
    found = finished_runs(study)
    runs, others = on_same_data(found) if found else ([], [])
    plan = read_plan(study)
    groups = {
        "opening": [Chapter(name, f"{name}/notebook.ipynb") for name in OPENING],
        "models": [_of_model(run) for run in runs],
        "further": [Chapter(name, f"{name}/notebook.ipynb") for name in FURTHER],
    }
    number = itertools.count()
    for name, chapters in groups.items():
        groups[name] = [each for each in chapters if (study / each.notebook).is_file()]
        for chapter in groups[name]:
            _read(chapter, study / chapter.notebook, number)
    if not any(groups.values()):
        raise ResultError(f"{study}: there is no executed notebook to make a report of")
    content = {
        "groups": groups,
        "troubles": troubles.find(study, plan, runs, others),
        "facts": facts(runs, plan),
        "synthetic": _synthetic(runs, plan),
        "repeats": [repeat(run, plan) for run in runs],
    }
    page = Page(
        template_name="template",
        extra_template_basedirs=[str(Path(__file__).parent)],
        default_preprocessors=[],
    )
    text, _ = page.from_notebook_node(nbformat.v4.new_notebook(), {"report": content})
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
        "Study": f"{count}, profile {_profile(plan)}" if plan else count,
        "Data": f"{sum(data['totals'].values()):,} images from {data['source']} ({splits})",
        "SHA-256 of the data": data["sha256"],
        "Code": _different(_short(machine["git_commit"]) for machine in machines),
        "Machine": _different(
            f"{m.get('processor', m['device'])}, {m['cores']} cores" for m in machines
        ),
        "Precision": _different(machine["precision"] for machine in machines),
    }


def repeat(run: Run, plan: dict[str, Any]) -> dict[str, str]:
    """The command that makes a run's numbers again, and the commit of the code that made them."""
    data, protocol = run.metrics["data"], run.metrics["protocol"]
    given = plan.get("parameters", {}).get("train", {})
    words = ["./run_all.sh", "--data", data["source"] if data["synthetic"] else "PATH"]
    words += ["--profile", _profile(plan)] if plan else []
    words += ["--on-bad", given["on_bad"]] if "on_bad" in given else []
    words += ["--resize"] if given.get("resize") else []
    # an ensemble is made again of its members; a classical system has one seed
    networks = list(run.metrics["model"].get("members", ()))
    only = [*(Path(place).parts[1] for place in networks), run.metrics["run_id"]]
    if "builder" in run.metrics["params"]:
        networks = [run.place]
    seeds = sorted({int(Path(place).parts[2].removeprefix("seed_")) for place in networks})
    words += ["--seeds", *map(str, seeds)] if seeds not in ([], [0]) else []
    return {
        "label": run.label,
        "protocol": protocol["name"],
        "accuracy": f"{run.test['accuracy']:.1%}",
        "split": protocol["test"],
        "command": " ".join([*words, "--only", *dict.fromkeys(only)]),
        "commit": _short(run.metrics["environment"]["git_commit"]),
        "record": f"{run.place}/metrics.json",
    }


def _of_model(run: Run) -> Chapter:
    score, protocol = run.test, run.metrics["protocol"]
    shown = (
        f"{score['accuracy']:.1%} of {score['n']:,} {protocol['test']} images right "
        f"({score['accuracy_low']:.1%} to {score['accuracy_high']:.1%})"
    )
    if len(protocol["classes"]) != 7:
        shown += f", {len(protocol['classes'])} classes"
    name = f"{run.metrics['run_id']}-seed-{run.metrics['seed']}"
    return Chapter(name, f"{run.place}/notebook.ipynb", run.label, shown)


def _read(chapter: Chapter, path: Path, number: Iterator[int]) -> None:
    """Fill in a chapter's title and the cells that it shows."""
    for cell in nbformat.read(path, as_version=4).cells:
        if HIDDEN & set(cell.metadata.get("tags", [])) or cell.source.startswith(METHODS):
            continue
        if cell.source.startswith("# ") and not chapter.cells:
            title, _, cell.source = cell.source[2:].partition("\n")
            chapter.title = chapter.title or title
        if cell.cell_type == "code":
            cell.outputs = [_own_ids(each, number) for each in cell.outputs if _shows(each)]
        if cell.outputs if cell.cell_type == "code" else cell.source.strip():
            chapter.cells.append(cell)
    chapter.title = chapter.title or path.parent.name


def _shows(output: Any) -> bool:
    """Has an output something to show? Rich displays an empty frame beside what it prints."""
    if output.output_type == "stream":
        return output.name != "stderr" and bool(output.text.strip())
    return output.get("data", {}).get("text/plain") != ""


def _own_ids(output: Any, number: Iterator[int]) -> Any:
    """The output; a table of pandas, which draws its id from a million, gets one of its own."""
    shown = output.get("data", {}).get("text/html", "")
    drawn = shown.partition('<table id="T_')[2].partition('"')[0]
    if drawn:
        output.data["text/html"] = shown.replace(f"T_{drawn}", f"T_{next(number)}")
    return output


def _profile(plan: dict[str, Any]) -> str:
    """Name of the study's profile; of a file of the user's own, the file's name."""
    return Path(plan["profile"]).name


def _short(commit: str) -> str:
    """A commit's first twelve digits, with the note on local changes if there is one."""
    digits, space, note = commit.partition(" ")
    return f"{digits[:12]}{space}{note}"


def _synthetic(runs: list[Run], plan: dict[str, Any]) -> bool:
    if runs:
        return runs[0].metrics["data"]["synthetic"]
    return plan.get("data", "").startswith("synthetic")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _different(values: Iterable[str]) -> str:
    """The different ones of some values, in their order."""
    return "; ".join(dict.fromkeys(values))
