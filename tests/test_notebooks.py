"""Static rules of the source notebooks: what a reader and papermill rely on."""

import ast
import json

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 20


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_chapters_of_the_study_are_there():
    from fer_utils.study.plan import CHAPTERS, MODEL_NOTEBOOKS

    assert {path.stem for path in NOTEBOOKS} == {
        *CHAPTERS.values(), *MODEL_NOTEBOOKS.values(), "06_paper"
    }  # fmt: skip


def test_starts_with_a_title_and_prose(notebook):
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown" and first["source"][0].startswith("# ")


def test_kernel_is_python3(notebook):
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_no_outputs_and_no_execution_counts(notebook):
    for cell in code_cells(notebook):
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        assert len(cell["source"]) <= LONGEST_CELL, "".join(cell["source"])


def test_parameters_are_typed_literals_with_help(notebook):
    """`papermill --help-notebook` shows the comment; the wrapper checks against the type."""
    tagged = [c for c in code_cells(notebook) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    lines = "".join(tagged[0]["source"]).splitlines()
    for line, node in zip(lines, ast.parse("\n".join(lines)).body, strict=True):
        assert isinstance(node, ast.AnnAssign), line
        value = ast.literal_eval(node.value)
        assert type(value).__name__ == node.annotation.id, line
        assert line.partition("  # ")[2], f"no help text: {line}"


def test_papermill_reads_every_parameter(notebook, request):
    import papermill

    path = ROOT / "notebooks" / f"{request.node.callspec.id}.ipynb"
    tagged = [c for c in code_cells(notebook) if "parameters" in c["metadata"].get("tags", [])]
    names = [node.target.id for node in ast.parse("".join(tagged[0]["source"])).body]
    assert sorted(papermill.inspect_notebook(str(path))) == sorted(names)


def test_study_folder_of_an_opened_notebook_is_not_a_pipeline_study(notebook):
    text = "".join("".join(cell["source"]) for cell in code_cells(notebook))
    assert 'study: str = "results/notebook"' in text
