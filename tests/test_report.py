"""The HTML report of a small study: what it shows, and how it behaves in a browser."""

import base64
import json

import cv2
import nbformat.v4 as nb
import numpy as np
import pandas as pd
import pytest
from browser import SIZES, faults, opened
from bs4 import BeautifulSoup
from runs import make_run

from fer_utils import report
from fer_utils.base import ResultError
from fer_utils.report import build
from fer_utils.runs import store, tables

ORDER = [
    "report", "compare", "models", "basic_cnn-seed-0", "dcnn_three_class-seed-0", "hog_svm-seed-0",
    "errors", "network", "explore", "balance", "preprocess", "benchmark", "methods", "repeat",
]  # fmt: skip
SECRET = "print('the code of a cell')"
STYLED = pd.DataFrame({"share": [0.1, 0.9]}).style.background_gradient()


PNG = base64.b64encode(cv2.imencode(".png", np.full((40, 900), 128))[1].tobytes()).decode()


def figure(caption):
    """What results.show leaves in a notebook."""
    image = f'<img src="data:image/png;base64,{PNG}" alt="{caption}">'
    return shown(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")


def shown(text, plain="<HTML>"):
    return nb.new_output("display_data", {"text/html": text, "text/plain": plain})


def table(frame):
    return shown(frame.style.hide(axis="index").format(precision=3, thousands=",").to_html())


def write(path, title, *outputs):
    """An executed notebook with a section for each output, and with what a report leaves out."""
    noise = nb.new_output("stream", name="stderr", text="WARNING: start-up noise")
    hidden = nb.new_output("stream", text="hidden")
    cells = [
        nb.new_markdown_cell(f"# {title}\n\nWhat this chapter is about."),
        nb.new_code_cell("n = 1", metadata={"tags": ["parameters"]}, outputs=[hidden]),
        nb.new_markdown_cell("## Data"),
        nb.new_code_cell("import keras", outputs=[noise]),
        nb.new_code_cell(SECRET, outputs=[shown("<pre></pre>", plain="")]),
    ]
    for output in outputs:
        cells += [nb.new_markdown_cell("## Part"), nb.new_code_cell(SECRET, outputs=[output])]
    cells += [nb.new_markdown_cell("## Methods and limits\n\nOf the notebook alone.")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb.new_notebook(cells=cells)), encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three models that ran, one that failed, one that is missing, and every chapter."""
    study = tmp_path_factory.mktemp("results") / "quick"
    models = {"basic_cnn": 45, "dcnn_three_class": 50, "hog_svm": 9}
    runs = [make_run(study, model, correct, n=60) for model, correct in models.items()]
    runs.append(make_run(study, "basic_cnn", 33, n=60, protocol="holdout"))
    bare = nb.new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})
    epochs = nb.new_output("stream", text="".join(f"epoch {i}\n" for i in range(60)))
    for model in models:
        of_model = study / "runs" / model / "seed_0" / "notebook.ipynb"
        write(of_model, "Train one model", epochs, figure("Confusion"), bare)
    compared = tables.comparison(runs)
    counts = pd.DataFrame({"images": [1200, 90, 10_000, None], "share": ["9%", "85%", "10%", ""]})
    words = ["reproduced", "lower", "higher", "not tested"] * 3
    verdicts = pd.DataFrame({"verdict": words, "reason": ["a long reason " * 10] * 12})
    for name in ("report", "errors", "network", "explore", "balance", "preprocess", "benchmark"):
        write(study / name / "notebook.ipynb", f"Chapter {name}", figure("A &lt;wide> one"),
              table(counts), shown(STYLED.to_html()))  # fmt: skip
    columns = "title accuracy accuracy_low accuracy_high protocol n".split()
    write(study / "compare" / "notebook.ipynb", "Side by side", table(compared[columns]),
          table(verdicts), figure("Bars"))  # fmt: skip
    error = nb.new_output("error", ename="ValueError", evalue="no <room> left\nsecond line")
    for name in ("light_cnn_seed_0", "my_deleted_cnn_seed_0", "preprocess"):
        write(study / "failed" / f"{name}.ipynb", "Failed", error)
    write(study / "failed" / "balance.ipynb", "Stopped")
    (study / "failed" / "errors.ipynb").write_text('{"cells": [')
    names = [*models, "light_cnn", "pipeline_cnn"]
    plan = {"profile": "quick", "runs": [f"runs/{name}/seed_0" for name in names]}
    plan["complete"] = {name: [{"title": f"The {name}"}] for name in names}
    (study / "study.json").write_text(json.dumps(plan))
    return study


@pytest.fixture(scope="module")
def page(study):
    return BeautifulSoup(report.write_report(study).read_text(encoding="utf-8"), "html.parser")


def test_chapters_stand_in_order_and_the_contents_lead_there(page):
    assert [each["id"] for each in page.select("section[id]")] == ORDER
    assert [each["href"] for each in page.select("nav a")] == [f"#{name}" for name in ORDER]
    assert len(page.select("[id]")) == len({each["id"] for each in page.select("[id]")})
    headings = [(each.name, each.text) for each in page.select("h1, h2, h3, h4")]
    assert headings.count(("h3", "Data")) == 8 and headings.count(("h4", "Data")) == 3


def test_failed_and_missing_models_are_named_at_the_top(page):
    top = page.select_one("header .trouble")
    stopped, unreadable, light, preprocess, missing = (each.text for each in top.select("li"))
    assert "Chapter balance: not finished: its notebook was stopped, or is still" in stopped
    assert "Chapter errors: failed, and its notebook cannot be read" in unreadable
    assert light.startswith("The light_cnn, seed 0: failed with ValueError: no <room> left (")
    assert top.select("a")[2]["href"] == "failed/light_cnn_seed_0.ipynb"
    assert "second line" not in page.text and "my_deleted_cnn" not in page.text
    assert "Chapter preprocess: failed with ValueError: no <room> left; its chapter" in preprocess
    assert missing == "The pipeline_cnn, seed 0: no finished run"


def test_head_has_date_data_and_provenance(page):
    facts = [each.text for each in page.select("header dd")]
    assert facts[:2] == ["2026-01-01", "3 models, 1 seed, profile quick"]
    assert facts[2].startswith("35,887 images from fer2013.csv (28,709 Training")
    assert facts[3:] == ["a" * 64, "x", "a processor, 2 cores", "float32"]
    assert "synthetic" not in page.header.text


def test_a_study_without_any_finished_model_or_plan_has_a_report(tmp_path):
    write(tmp_path / "explore" / "notebook.ipynb", "The data", figure("Faces"))
    assert "Not everything ran" not in report.write_report(tmp_path).read_text()
    plan = {"profile": "demo", "data": "synthetic", "runs": ["runs/deep_cnn/seed_0"]}
    (tmp_path / "study.json").write_text(json.dumps(plan))
    text = report.write_report(tmp_path).read_text()
    assert "deep_cnn, seed 0</strong>: no finished" in text and "These faces are" in text
    with pytest.raises(ResultError, match="no executed notebook"):
        report.write_report(tmp_path / "explore")
    (tmp_path / "study.json").write_text('{"runs": [')
    with pytest.raises(ResultError, match="study.json: cannot be read"):
        build.read_plan(tmp_path)


def test_a_run_on_other_data_or_without_notebook_is_named(tmp_path):
    write(tmp_path / "explore" / "notebook.ipynb", "The data")
    make_run(tmp_path, "deep_cnn", pixels="b" * 64)
    make_run(tmp_path, "basic_cnn", seed=1)  # finished last
    plan = {"profile": "full", "runs": ["runs/deep_cnn/seed_0", "runs/basic_cnn/seed_0"]}
    (tmp_path / "study.json").write_text(json.dumps(plan))
    text = report.write_report(tmp_path).read_text()
    assert "Deep CNN, seed 0</strong>: its finished run is of other data" in text
    assert "Basic CNN, seed 0</strong>: no finished run" in text
    assert "Basic CNN, seed 1</strong>: no notebook, only a record" in text


def test_page_loads_nothing_and_its_links_lead_somewhere(study, page):
    loaded = [each.get("src", each.get("href")) for each in page.select("[src], link")]
    assert {address[:5] for address in loaded} == {"data:"}
    text = str(page)
    assert "url(" not in text and "@import" not in text and "default-src 'none'" in text
    assert not any(word in text.lower() for word in ("mathjax", "require.js", "mermaid"))
    links = {each["href"] for each in page.select("a")}
    assert all(link.startswith("#") or (study / link).is_file() for link in links)
    assert {"report/notebook.ipynb", "runs/hog_svm/seed_0/notebook.ipynb"} <= links


def test_page_shows_captions_but_no_code_noise_or_empty_cell(page):
    assert not any(word in page.text for word in (SECRET, "hidden", "WARNING", "notebook alone"))
    assert all(each.text.strip() or each.img for each in page.select("pre, .output, .words"))
    assert [bool(image["alt"]) for image in page.select("img")] == [True] * (7 + 1 + 3 * 2)
    assert [each.text for each in page.select("figcaption")].count("A <wide> one") == 7
    long = page.select_one("#hog_svm-seed-0 details details")
    assert long.summary.text == "60 lines: epoch 0" and "epoch 59" in long.pre.text
    style = page.select_one("#explore .output style:-soup-contains('background')")
    assert page.select_one(f"#explore {style.text.split()[0]}").text == "0.100000"


def test_every_number_has_its_command_commit_and_record(study, page):
    rows = [[cell.text for cell in row.select("td")] for row in page.select("#repeat tbody tr")]
    command = "./run_all.sh --data PATH --profile quick --only basic_cnn"
    assert rows[0][1:6] == ["75.0%", "official", "PrivateTest", command, "x"]
    assert "runs/basic_cnn/seed_0/holdout/metrics.json" in str(page.select("#repeat a")[1])
    run = store.read_run(study / "runs" / "hog_svm" / "seed_0")
    plan = {"profile": "/my/own.yaml", "parameters": {"train": {"resize": True}}}
    run.metrics["data"] |= {"synthetic": True, "source": "synthetic:n=9,seed=2"}
    start = "./run_all.sh --data synthetic:n=9,seed=2 --profile own.yaml --resize"
    run.metrics["model"]["members"] = {"runs/fer_net/seed_0": "", "runs/fer_net/seed_1": ""}
    assert build.repeat(run, plan)["command"] == f"{start} --seeds 0 1 --only fer_net hog_svm"


def test_in_a_browser_the_page_is_sound(browser, study, page):
    assert [faults(browser, study / "report.html", *size) for size in SIZES] == [[]] * 4


@pytest.fixture(params=[1280, 390])
def shown_page(request, browser, study, page):
    return opened(browser, study / "report.html", request.param)


def test_in_a_browser_contents_lead_to_every_chapter(shown_page):
    narrow = shown_page.viewport_size["width"] < 960
    link, model = shown_page.locator("nav a").nth(5), shown_page.locator("#hog_svm-seed-0")
    if narrow:
        assert not link.is_visible()
        shown_page.locator("nav summary").click()
    assert not model.locator("h4").first.is_visible()
    link.click()
    model.locator("h4").first.wait_for()  # unfolded
    assert 0 <= model.bounding_box()["y"] < 100
    assert link.is_visible() != narrow


def test_in_a_browser_tables_sort_and_filter(shown_page):
    def column(table, number):
        return table.locator(f"tbody tr:visible td:nth-child({number})").all_inner_texts()

    counts = shown_page.locator("#explore table").first
    images = ["90.000", "1,200.000", "10,000.000"]
    for order in (images, images[::-1]):
        counts.get_by_role("button", name="images").click()
        assert column(counts, 1) == [*order, "nan"]
    counts.get_by_role("button", name="share").press("Enter")
    assert column(counts, 2) == ["9%", "10%", "85%", ""]
    assert counts.locator("[aria-sort]").count() == 1
    compared, verdicts = shown_page.locator("#compare table").all()
    assert column(compared, 2) == ["0.750", "0.833", "0.150", "0.550"]
    shown_page.get_by_role("searchbox").fill("Lower")
    assert column(verdicts, 1) == ["lower"] * 3
    assert verdicts.locator("td.verdict.lower").count() == 3


def test_in_a_browser_the_keyboard_reaches_contents_folds_and_filter(shown_page):
    focused = "(e => (e.closest('nav') ? 'nav ' : '') + e.localName)(document.activeElement)"
    reached = set()
    for _ in range(150):
        shown_page.keyboard.press("Tab")
        reached.add(shown_page.evaluate(focused))
    contents = "nav a" if shown_page.viewport_size["width"] > 960 else "nav summary"
    assert {contents, "summary", "input", "button", "a"} <= reached
    shown_page.locator("#hog_svm-seed-0 summary").first.press("Enter")
    assert shown_page.locator("#hog_svm-seed-0 h4").first.is_visible()


def test_in_a_browser_printing_unfolds_everything(browser, study, page):
    page = opened(browser, study / "report.html", scheme="dark")
    page.emulate_media(media="print", color_scheme="light")
    assert page.locator("#hog_svm-seed-0 details pre").last.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf(format="A4")) > 50_000
