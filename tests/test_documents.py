"""README.md and docs are rendered from the committed records; a wrong name is one clear error."""

import re

import pytest

from fer_utils.base import ROOT, ResultError
from fer_utils.study import documents, reference

pytestmark = pytest.mark.skipif(
    not (reference.FOLDER / "comparison.csv").is_file(), reason="no records in this checkout"
)


def render(folder, text):
    (folder / "README.md.j2").write_text(text)
    return documents.render(folder)["README.md"].split("\n", 1)[1]


def test_rendering_again_changes_nothing(capsys):
    assert documents.main(["--check"]) == 0, capsys.readouterr().out
    for page in documents.PAGES.values():
        assert "python -m fer_utils.study.documents" in (ROOT / page).read_text().splitlines()[0]


def test_a_page_that_differs_is_named_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    monkeypatch.setattr(documents, "render", lambda: {"README.md": "new\n"})
    assert documents.main(["--check"]) == 1
    assert "README.md differs from its template" in capsys.readouterr().out
    assert documents.main([]) == 0
    assert (tmp_path / "README.md").read_text() == "new\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n{{ run('basic_nn') | interval }}", "README.md.j2, line 2: .*no row with .*basic_nn"),
        ("{{ run('basic_cnn', seed=9) | interval }}", "line 1: .*no row with .*'seed': 9"),
        ("{{ run('basic_cnn') | interval('acuracy') }}", "no number 'acuracy' in this record"),
        ("{{ run('basic_cnn').acuracy }}", "no attribute 'acuracy'"),
        ("{{ run('basic_cnn').accuracy_views | percent }}", "no number 'share'"),
        ("{{ pair('Deep CNN', 'Shallow CNN').low }}", "no pair of Deep CNN and Shallow CNN"),
        ("{{ printed('hog_svm') | measured }}", "no claim about the test accuracy of hog_svm"),
        ("{{ rows('comparisons') }}", "no table .*comparisons.csv"),
        ("{{ acuracy }}", "'acuracy' is undefined"),
        ("\n\n{% for %}", "README.md.j2, line 3: "),
    ],
)
def test_an_unknown_run_or_number_is_one_error_with_its_line(tmp_path, text, message):
    with pytest.raises(ResultError, match=message):
        render(tmp_path, text)


def test_an_error_ends_the_command_with_one_line(monkeypatch, capsys):
    def fail():
        raise ResultError("README.md.j2, line 7: comparison.csv has no row")

    monkeypatch.setattr(documents, "render", fail)
    assert documents.main([]) == 2
    assert capsys.readouterr().err == "error: README.md.j2, line 7: comparison.csv has no row\n"


def test_numbers_are_those_of_the_records(tmp_path):
    scores = "{{ run('fer_net') | interval }}; {{ '%.4f' % seeds('fer_net').mean }}"
    text, mean = render(tmp_path, scores).split("; ")
    assert re.fullmatch(r"\d\d\.\d % \(\d\d\.\d to \d\d\.\d\)", text)
    runs = [run for run in reference.read() if run.metrics["run_id"] == "fer_net"]
    assert float(mean) == pytest.approx(
        sum(run.test["accuracy"] for run in runs) / len(runs), abs=1e-4
    )
    both = "{{ pair('Deep CNN', 'HOG + SVM').value + pair('HOG + SVM', 'Deep CNN').value }}"
    assert float(render(tmp_path, both)) == 0


def test_models_without_a_parameter_file_are_left_out(monkeypatch):
    monkeypatch.setattr(documents, "names", lambda folder: ["basic_cnn"])
    records = documents.Records()
    assert {row["run_id"] for row in records.rows("comparison")} == {"basic_cnn"}
    assert len(records.rows("trials")) > 1
