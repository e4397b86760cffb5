"""The strict wrapper: wrong parameters stop before anything runs, a failed cell is told plainly."""

import io

import nbformat
import pytest

from fer_utils.config import ParameterError
from fer_utils.study import execute

PARAMETERS = 'name: str = "a"  # a name\ncount: int = 1  # a number\nrate: float = 0.5  # a rate'


@pytest.fixture
def notebook(tmp_path):
    def make(code):
        cells = [nbformat.v4.new_code_cell(text) for text in (PARAMETERS, code)]
        cells[0].metadata["tags"] = ["parameters"]
        content = nbformat.v4.new_notebook(cells=cells)
        content.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(content, tmp_path / "it.ipynb")
        return tmp_path / "it.ipynb"

    return make


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"naem": "b"}, ["unknown parameter `naem`", "did you mean `name`"]),
        ({"count": "2"}, ["`count`", "'2'", "must be int"]),
        ({"count": True}, ["`count`", "True (bool)", "must be int"]),
        ({"rate": "1e-3"}, ["`rate`", "'1e-3'", "must be float"]),
    ],
)
def test_wrong_parameter_is_an_error_before_anything_runs(notebook, tmp_path, values, words):
    path = notebook(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ParameterError) as error:
        execute.run(path, tmp_path / "out.ipynb", values, tmp_path / "failed.ipynb", None)
    assert all(word in str(error.value) for word in ["it.ipynb", *words])
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out.ipynb").exists()


def test_whole_number_passes_for_a_float(notebook):
    execute.check(notebook("pass"), {"rate": 1, "count": 3, "name": "x"})


def test_missing_notebook_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"no\.ipynb: there is no such notebook"):
        execute.check(tmp_path / "no.ipynb", {})


def test_executed_copy_has_the_values_and_one_output_per_cell(notebook, tmp_path):
    path = notebook("for i in range(3):\n    print('epoch', i, name)\nprint('other')")
    stream, output = io.StringIO(), tmp_path / "deep" / "out.ipynb"
    execute.run(path, output, {"name": "b"}, tmp_path / "failed.ipynb", stream)
    cell = nbformat.read(output, as_version=4).cells[-1]
    assert [o.text for o in cell.outputs] == ["epoch 0 b\nepoch 1 b\nepoch 2 b\nother\n"]
    assert stream.getvalue().startswith("epoch 0 b")
    assert not (tmp_path / "failed.ipynb").exists()


def test_failed_cell_is_named_and_the_old_result_stays(notebook, tmp_path):
    output, failed = tmp_path / "out.ipynb", tmp_path / "failed" / "it.ipynb"
    output.write_text("old")
    with pytest.raises(execute.NotebookError) as error:
        execute.run(notebook("1 / 0"), output, {}, failed, None)
    message = str(error.value)
    assert "it.ipynb, cell " in message and "ZeroDivisionError: division by zero" in message
    assert str(failed.absolute()) in message and "Traceback" not in message
    assert output.read_text() == "old"
    assert "ZeroDivisionError" in failed.read_text()


def test_only_progress_lines_reach_the_terminal(capsys):
    progress = execute._Progress()
    progress.write("epoch 1 lo")
    progress.write("ss 2\nsome table\nresumed after epoch 3\n")
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert shown == ["epoch 1 loss 2", "resumed after epoch 3"]
