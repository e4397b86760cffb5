"""The report: one self-contained HTML page, by the nbconvert template in this folder."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import pass_context
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image, features

from fer_utils import plots
from fer_utils.base import ROOT, ResultError, write_text
from fer_utils.report import opening, troubles
from fer_utils.report.opening import REFERENCE, Study
from fer_utils.runs import claims
from fer_utils.runs.store import Run, finished_runs, on_same_data

ORDER = ("compare", "errors", "explore", "preprocess", "balance", "network")  # after papers
HIDDEN = {"setup", "parameters", "injected-parameters"}
METHODS = "## Methods and limits"  # the page has one such section for all chapters, at its end
LARGEST = 200_000  # bytes of a CSV file in the page
PNG = re.compile(r"data:image/png;base64,([\w+/=\s]+)")
DRAWN = re.compile(r"\bT_[0-9a-f]{5}")  # the id of a table, which pandas draws at random
OF_ERRORS = {
    "reliability": "Accuracy at each confidence, before and after temperature scaling",
    "coverage": "Accuracy if the images that a model is least sure of are left out",
    "robustness": "Accuracy on worse pictures, by the strength of the disturbance",
}


@dataclass
class Chapter:
    """A notebook, a section of docs/results.md, or a model; with a `score` it is folded."""

    id: str
    title: str = ""
    notebook: str = ""  # relative to the report
    score: str = ""
    cells: list[Any] = field(default_factory=list)
    figures: list[tuple[str, str, Path | None]] = field(default_factory=list)  # SVG, caption, CSV
    runs: list[Run] = field(default_factory=list)


class Renderer(IPythonRenderer):
    """Markdown as nbconvert renders it, lower headings, links in the page or to the web."""

    deeper = 1

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        return super().heading(text, min(level + self.deeper, 6), **attributes)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        url = f"#study-{url[1:]}" if url.startswith("#") else url
        return super().link(text, url, title) if "://" in url or url.startswith("#") else text


class Page(HTMLExporter):
    """Fills the template."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        renderer = Renderer(escape=False, exclude_anchor_links=True)
        renderer.deeper = 2 if context["chapter"].score else 1
        return MarkdownWithMath(renderer=renderer).render(source)


def write_report(study: str | Path) -> Path:
    """Write report.html of a study's executed notebooks; returns its path.

    It opens with the findings of results/reference, or with the study's own if it ran everything
    on FER2013. Models and chapters without a finished run are named.
    """
    study = Path(study).absolute()
    plan, found = read_plan(study), finished_runs(study)
    runs, others = on_same_data(found) if found else ([], [])
    names = {path.parent.name for path in study.glob("*/notebook.ipynb")}
    papers = {name: f"Paper: {of.name}" for name, of in claims.read().items() if name in names}
    names = [*papers, *(name for name in ORDER if name in names)]
    chapters = [Chapter(name, papers.get(name, ""), f"{name}/notebook.ipynb") for name in names]
    if names[-1:] == ["network"]:
        chapters[-1].score = "how it is built and trained, and what was tried"
    models = [_model([run], f"{run.place}/notebook.ipynb") for run in runs]
    models = [model for model in models if (study / model.notebook).is_file()]
    if not chapters + models:
        raise ResultError(f"{study}: there is no executed notebook to make a report of")
    seen, number, times = set(), count(), []
    for chapter in chapters + models:
        times.append(_read(chapter, study / chapter.notebook, seen, number))
    shown, real = opening.source(study, runs), opening.whole(runs)
    own = shown.folder == study
    records = _records(without=("claims", "paper-by-paper") if papers else ())
    return _write(
        study / "report.html", shown, chapters=chapters, models=models, runs=runs,
        plan=plan, troubles=troubles.find(study, plan, runs, others), minutes=_minutes(times),
        own=own, real=real, papers=papers, records=[] if own else records,
        known={run.place: run for run in Study().runs} if real else {},
    )  # fmt: skip


def write_reference(path: Path = REFERENCE / "report.html") -> Path:
    """Write the report of the committed records, which has no image of a face."""
    study = Study()
    models, errors = [], Chapter("errors", "Where the models err")
    for name, caption in OF_ERRORS.items():
        svg = (REFERENCE / "figures" / f"{name}.svg").read_bytes()
        errors.figures.append((base64.b64encode(svg).decode(), caption, None))
    plots.use_style()
    for _, group in groupby(study.runs, key=lambda run: run.metrics["run_id"]):
        runs = list(group)
        model = _model(runs, "")
        model.runs, first = runs, runs[0]
        if "loss" in first.history:
            curves = plots.learning_curves(first.history, first.metrics["model"]["best_epoch"])
            model.figures.append(
                (_svg(curves), f"Epochs of {first.label}", first.folder / "history.csv")
            )
        models.append(model)
    return _write(path, study, chapters=[*_records(), errors], models=models, runs=study.runs)


def _write(path: Path, study: Study, **content: Any) -> Path:
    plots.use_style()
    figures = [(_svg(figure), *words) for figure, *words in opening.figures(study)]
    content |= {"study": study, "figures": figures, "findings": opening.findings(study)}
    content |= {"data_link": data_link}
    folder = Path(__file__).parent
    page = Page(
        template_name="template", extra_template_basedirs=[str(folder)], default_preprocessors=[]
    )
    text, _ = page.from_notebook_node(nbformat.v4.new_notebook(), {"report": content})
    write_text(path, text)
    return path


def read_plan(study: Path) -> dict[str, Any]:
    """What the study was asked to run (study.json); nothing where it was not started as a study."""
    path = study / "study.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ResultError(f"{path}: cannot be read ({error}); start the study again") from None


def _records(without: Container[str] = ()) -> list[Chapter]:
    """The sections of docs/results.md, which are rendered from the records."""
    sections = re.split(r"^## ", (ROOT / "docs/results.md").read_text(encoding="utf-8"), flags=re.M)
    parts = {title: text for title, _, text in (each.partition("\n") for each in sections[1:])}
    ids = {title: title.lower().replace(" ", "-") for title in parts}
    return [
        Chapter(f"study-{ids[title]}", title, cells=[nbformat.v4.new_markdown_cell(text)])
        for title, text in parts.items()
        if ids[title] not in without
    ]


def _model(runs: list[Run], notebook: str) -> Chapter:
    """The chapter of a model, headed by the score of the first of its runs."""
    score, protocol = runs[0].test, runs[0].metrics["protocol"]
    shown = (
        f"{score['accuracy']:.1%} of {score['n']:,} {protocol['test']} images right "
        f"({score['accuracy_low']:.1%} to {score['accuracy_high']:.1%})"
    )
    shown += f", {len(protocol['classes'])} classes" if len(protocol["classes"]) != 7 else ""
    name = f"{runs[0].metrics['run_id']}-seed-{runs[0].metrics['seed']}"
    return Chapter(name, runs[0].label, notebook, shown)


def _read(chapter: Chapter, path: Path, seen: set[str], number: Iterator[int]) -> dict[str, Any]:
    """Fill in a chapter's title and cells, without what is `seen`; returns papermill's times."""
    notebook, table = nbformat.read(path, as_version=4), None
    for place, cell in enumerate(notebook.cells, 1):
        if HIDDEN & set(cell.metadata.get("tags", [])) or cell.source.startswith(METHODS):
            continue
        if cell.cell_type == "markdown":
            table = None if cell.source.startswith("#") else table
            if cell.source.startswith("# ") and not chapter.cells:
                title, _, cell.source = cell.source[2:].partition("\n")
                chapter.title = chapter.title or title
        else:
            # a figure is of the CSV file that its section of the notebook wrote last
            names = re.findall(r"[\w.-]+\.csv(?=[\"'])", cell.source)
            table = next((path.with_name(name) for name in names[::-1]), table)
            address = f"{chapter.notebook}#cell-id={cell.get('id', place)}"
            source = f'<a href="{address}">cell {place} of the notebook</a> {data_link(table)}'
            cell.outputs = [each for each in cell.outputs if _shows(each, seen, number, source)]
        if cell.outputs if cell.cell_type == "code" else cell.source.strip():
            chapter.cells.append(cell)
    chapter.title = chapter.title or path.parent.name
    return notebook.metadata.get("papermill", {})


def _shows(output: Any, seen: set[str], number: Iterator[int], source: str) -> bool:
    """Does the page need an output? If so, its tables get own ids and its figures their source."""
    if output.output_type == "stream":
        return output.name != "stderr" and bool(output.text.strip())
    data = output.get("data", {})
    text = data.get("text/html", "")
    if "image/png" in data:
        image = f'<img src="data:image/png;base64,{data["image/png"]}" alt="Figure">'
        text = f"<figure>{image}</figure>"
    picture = re.search(r'src="(data:[^"]+)', text)
    content = picture[1] if picture else DRAWN.sub("", text) if "<table" in text else ""
    if data.get("text/plain") == "" or content in seen:  # rich displays an empty frame
        return False
    seen |= {content} - {""}
    text = DRAWN.sub(f"T_{next(number)}", PNG.sub(_smaller, text))
    text = text.replace("</figure>", f'<p class="source">{source}</p></figure>')
    data |= {"text/html": text} if text else {}
    return True


def _smaller(png: re.Match[str]) -> str:
    """A picture of faces in a fraction of its size."""
    kind = "avif" if features.check("avif") else "webp"
    with Image.open(io.BytesIO(base64.b64decode(png[1]))) as picture, io.BytesIO() as file:
        picture.convert("RGB").save(file, kind, quality=25, speed=10)
        return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def data_link(path: Path | None) -> str:
    """A link that holds a CSV file, or nothing."""
    if path is None or not path.is_file() or path.stat().st_size > LARGEST:
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<a download="{path.name}" href="data:text/csv;base64,{data}">{path.name}</a>'


def _svg(figure: Figure) -> str:
    """A figure as SVG in base64."""
    with io.BytesIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
        return base64.b64encode(file.getvalue()).decode()


def _minutes(times: list[dict[str, Any]]) -> int:
    """Minutes in which at least one of the notebooks ran, by papermill's start and end times."""
    spans = [(each["start_time"], each["end_time"]) for each in times if each.get("end_time")]
    seconds, until = 0.0, pd.Timestamp(0, tz="UTC")
    for start, end in sorted((pd.Timestamp(a), pd.Timestamp(b)) for a, b in spans):
        seconds += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return max(1, round(seconds / 60))
