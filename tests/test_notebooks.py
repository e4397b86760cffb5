"""The source notebooks: what a reader and papermill rely on, and what each shows by itself."""

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


def test_is_a_clean_notebook_of_short_cells(notebook):
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown" and first["source"][0].startswith("# ")
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in code_cells(notebook):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert len(cell["source"]) <= LONGEST_CELL, "".join(cell["source"])


def test_parameters_are_typed_literals_with_help(notebook, request):
    """`papermill --help-notebook` shows the comment; the wrapper checks against the type."""
    import papermill

    tagged = [c for c in code_cells(notebook) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    lines = "".join(tagged[0]["source"]).splitlines()
    for line, node in zip(lines, ast.parse("\n".join(lines)).body, strict=True):
        assert isinstance(node, ast.AnnAssign), line
        value = ast.literal_eval(node.value)
        assert type(value).__name__ == node.annotation.id, line
        assert line.partition("  # ")[2], f"no help text: {line}"
    path = ROOT / "notebooks" / f"{request.node.callspec.id}.ipynb"
    names = [node.target.id for node in ast.parse("\n".join(lines)).body]
    assert sorted(papermill.inspect_notebook(str(path))) == sorted(names)


def test_study_folder_of_an_opened_notebook_is_not_a_pipeline_study(notebook):
    text = "".join("".join(cell["source"]) for cell in code_cells(notebook))
    assert 'study: str = "results/notebook"' in text


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("07_compare", {}, "committed records"),
        ("06_paper", {"paper": "korchi"}, "committed records"),
        ("09_fer_net", {}, "committed records"),
        ("08_errors", {"data": "synthetic:n=300,seed=1", "robust_images": 3}, "committed weights"),
    ],
)
def test_shows_what_is_committed_where_there_are_no_runs(name, values, told, tmp_path, monkeypatch):
    import papermill

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    executed = papermill.execute_notebook(
        ROOT / "notebooks" / f"{name}.ipynb",
        tmp_path / "executed.ipynb",
        parameters={"study": str(tmp_path / "study"), **values},
        kernel_name="python3",
        progress_bar=False,
    )
    outputs = [output for cell in code_cells(executed) for output in cell["outputs"]]
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert told in "".join(output.get("text", "") for output in outputs)
    assert shown.count("<img") >= 2 and shown.count("<table") >= 4
    assert "Three-class DCNN" in shown or "FER-Net" in shown
