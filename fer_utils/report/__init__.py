"""The HTML report: the outputs of a study's executed notebooks in one self-contained page."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_utils.results import Run, finished_runs, on_same_data, write_text

HERE = Path(__file__).parent
HIDDEN = {"setup", "parameters", "injected-parameters"}


@dataclass(frozen=True)
class Chapter:
    """One executed notebook in the report."""

    id: str
    title: str
    body: str
    notebook: str  # relative to the report
    folds: bool = False


def build(study: str | Path) -> Path:
    """Write report.html of a study folder from its executed notebooks; returns its path."""
    from jinja2 import Environment, FileSystemLoader

    study = Path(study)
    runs, _ = on_same_data(finished_runs(study))
    chapters = [_chapter(study, "report", "report/notebook.ipynb")]
    for name in ("explore", "preprocess", "balance"):
        if (study / name / "notebook.ipynb").is_file():
            chapters.append(_chapter(study, name, f"{name}/notebook.ipynb"))
    for run in runs:
        if (run.folder / "notebook.ipynb").is_file():
            chapters.append(_model_chapter(study, run))
    chapters.append(_chapter(study, "compare", "compare/notebook.ipynb"))
    if (study / "benchmark" / "notebook.ipynb").is_file():
        chapters.append(_chapter(study, "benchmark", "benchmark/notebook.ipynb"))
    page = Environment(loader=FileSystemLoader(HERE), autoescape=True).get_template("page.html.j2")
    record = runs[0].metrics
    text = page.render(
        chapters=chapters,
        data=record["data"],
        images=sum(record["data"]["totals"].values()),
        date=max(run.metrics["timing"]["finished_at"] for run in runs)[:10],
        commit=record["environment"]["git_commit"],
        style=(HERE / "style.css").read_text(encoding="utf-8"),
    )
    write_text(study / "report.html", text)
    return study / "report.html"


def _model_chapter(study: Path, run: Run) -> Chapter:
    relative = f"{run.folder.relative_to(study.absolute())}/notebook.ipynb"
    identity = f"{run.metrics['run_id']}-seed-{run.metrics['seed']}"
    return _chapter(study, identity, relative, run.label, folds=True)


def _chapter(
    study: Path, identity: str, relative: str, title: str = "", folds: bool = False
) -> Chapter:
    import nbformat

    notebook = nbformat.read(study / relative, as_version=4)
    notebook.cells = [c for c in notebook.cells if not HIDDEN & set(c.metadata.get("tags", []))]
    first = notebook.cells[0]
    heading, _, rest = first.source.partition("\n")
    first.source = rest.strip()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # the executed notebook keeps what was said on stderr
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.cells = [c for c in notebook.cells if not _empty(c)]
    return Chapter(
        identity, title or heading.lstrip("# "), _render(notebook, identity), relative, folds
    )


def _empty(cell: Any) -> bool:
    return not cell.source.strip() or (cell.cell_type == "code" and not cell.outputs)


def _render(notebook: Any, identity: str) -> str:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    # every notebook has a section "Data" and a cell 4: in one page their names must differ
    body = re.sub(r' id="cell-id=[^"]*"', "", body)
    return re.sub(r'(<h[1-6] id=")', rf"\g<1>{html.escape(identity)}-", body)
