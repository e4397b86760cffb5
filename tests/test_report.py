"""The HTML report of a small study: what it shows, and how it behaves in a browser."""

import base64
import html
import itertools
import json
import re
import shutil

import cv2
import nbformat.v4 as nb
import numpy as np
import pandas as pd
import pytest
from browser import SIZES, faults
from runs import make_run

from fer_utils import report
from fer_utils.base import ResultError
from fer_utils.report import notebook, troubles
from fer_utils.runs import store, tables

ORDER = [
    "report", "compare", "models", "basic_cnn-seed-0", "dcnn_three_class-seed-0", "hog_svm-seed-0",
    "errors", "network", "explore", "balance", "preprocess", "benchmark", "methods", "repeat",
]  # fmt: skip
SECRET = "print('the code of a cell')"


def figure(caption):
    """What results.show leaves in a notebook."""
    caption = html.escape(caption)
    png = cv2.imencode(".png", np.full((40, 900), 128, np.uint8))[1].tobytes()
    data = base64.b64encode(png).decode()
    return shown(
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def bare_figure():
    png = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    return nb.new_output("display_data", {"image/png": base64.b64encode(png).decode()})


def shown(text):
    return nb.new_output("display_data", {"text/html": text, "text/plain": "<HTML>"})


def table(frame):
    return shown(frame.style.hide(axis="index").format(precision=3, thousands=",").to_html())


def said(text, name="stdout"):
    return nb.new_output("stream", name=name, text=text)


def write(path, title, *outputs, **metadata):
    """An executed notebook with a section for each output, and with what a report leaves out."""
    cells = [
        nb.new_markdown_cell(f"# {title}\n\nWhat this chapter is about."),
        nb.new_code_cell("study = 1", metadata={"tags": ["parameters"]}, outputs=[said("hidden")]),
        nb.new_markdown_cell("## Data"),
        nb.new_code_cell("import keras", outputs=[said("WARNING: start-up noise", "stderr")]),
        nb.new_code_cell(SECRET, outputs=[shown("<pre></pre>")]),
    ]
    for output in outputs:
        cells += [nb.new_markdown_cell("## Part"), nb.new_code_cell(SECRET, outputs=[output])]
    cells += [nb.new_markdown_cell("## Methods and limits\n\nOf the notebook alone.")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb.new_notebook(cells=cells, metadata=metadata)), encoding="utf-8")


def write_failed(study, name, evalue):
    error = nb.new_output("error", ename="ValueError", evalue=evalue, traceback=["noise"])
    write(study / "failed" / f"{name}.ipynb", "Failed", error)


def make_study(study):
    """Three models that ran, one that failed, one that is missing, and every chapter."""
    models = {"basic_cnn": 45, "dcnn_three_class": 50, "hog_svm": 9}
    runs = [make_run(study, model, correct, n=60) for model, correct in models.items()]
    runs.append(make_run(study, "basic_cnn", 33, n=60, protocol="holdout"))
    for model in models:
        title = "Train one model"
        of_model = study / "runs" / model / "seed_0" / "notebook.ipynb"
        write(of_model, title, said("epoch 1\n"), figure("Confusion"), bare_figure())
    compared = tables.comparison(runs)
    store.save_table(compared, study / "compare" / "comparison.csv")
    counts = pd.DataFrame({"images": [1200, 90, 10_000, None], "share": ["9%", "85%", "10%", ""]})
    words = ["reproduced", "worse", "better", "cannot be decided"]
    verdicts = pd.DataFrame(
        {"verdict": words, "reason": ["a reason that is told at length " * 5] * 4}
    )
    for name in ("report", "errors", "network", "explore", "balance", "preprocess", "benchmark"):
        write(
            study / name / "notebook.ipynb",
            f"Chapter {name}",
            figure("A <wide> one"),
            table(counts),
        )
    shown_columns = "title protocol n accuracy accuracy_low accuracy_high".split()
    write(study / "compare" / "notebook.ipynb", "Side by side", table(compared[shown_columns]),
          table(verdicts), figure("Bars"))  # fmt: skip
    write_failed(study, "light_cnn_seed_0", "no <room> left\nsecond line")
    write_failed(study, "preprocess", "no landmarks")
    names = [*models, "light_cnn", "pipeline_cnn"]
    plan = {
        "profile": "quick", "data": "fer2013.csv", "runs": [f"runs/{n}/seed_0" for n in names],
        "complete": {name: [{"title": f"The {name}"}] for name in names},
    }  # fmt: skip
    (study / "study.json").write_text(json.dumps(plan))
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("results") / "quick")


@pytest.fixture(scope="module")
def page(study):
    return report.build(study).read_text(encoding="utf-8")


def head(page):
    """The page above its first chapter, without its contents."""
    return page[page.index("<main>") : page.index('<section id="report"')]


def test_chapters_stand_in_order(page):
    assert re.findall(r'<section id="([^"]+)"', page) == ORDER


def test_failed_and_missing_models_are_named_at_the_top(page):
    top = head(page)
    assert re.search(r"light_cnn, seed 0</strong>: failed with ValueError: no &lt;room&gt;", top)
    assert "second line" not in page and 'href="failed/light_cnn_seed_0.ipynb"' in top
    assert "pipeline_cnn, seed 0</strong>: no finished run" in top
    assert "seed 1" not in top
    assert "Chapter preprocess</strong>: failed with ValueError: no landmarks; its chapter" in top
    assert "3 failed or missing" in top


def test_head_tells_date_data_and_provenance(page):
    told = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", head(page)))
    assert told["Date"] == "2026-01-01"
    assert told["Data"].startswith("35,887 images from fer2013.csv (28,709 Training")
    assert told["SHA-256 of the data"] == "a" * 64
    assert told["Study"] == "3 models, 1 seed, profile quick"
    assert {"Code", "Machine", "Precision"} <= set(told)
    assert "synthetic" not in head(page)


def test_a_study_where_all_ran_has_no_box(tmp_path):
    make_study(tmp_path)
    shutil.rmtree(tmp_path / "failed")
    plan = json.loads((tmp_path / "study.json").read_text())
    plan["runs"] = plan["runs"][:3]
    (tmp_path / "study.json").write_text(json.dumps(plan))
    assert "Not everything ran" not in report.build(tmp_path).read_text()


def test_a_study_without_any_finished_model_or_plan_has_a_report(tmp_path):
    write(tmp_path / "explore" / "notebook.ipynb", "The data", figure("Faces"))
    assert "The data" in report.build(tmp_path).read_text()
    (tmp_path / "study.json").write_text(
        json.dumps({"profile": "demo", "data": "synthetic", "runs": ["runs/deep_cnn/seed_0"]})
    )
    text = report.build(tmp_path).read_text()
    assert "deep_cnn, seed 0</strong>: no finished run" in text and "These faces are" in text
    with pytest.raises(ResultError, match="no executed notebook"):
        report.build(tmp_path / "explore")
    (tmp_path / "study.json").write_text('{"runs": [')
    with pytest.raises(ResultError, match="study.json: cannot be read"):
        report.build(tmp_path)


def test_a_failure_of_a_model_that_was_deleted_since_is_not_told(tmp_path):
    write(tmp_path / "explore" / "notebook.ipynb", "The data", figure("Faces"))
    for name in ("deep_cnn_seed_0", "my_deleted_cnn_seed_0"):
        write_failed(tmp_path, name, "no room left")
    text = report.build(tmp_path).read_text()
    assert "deep_cnn, seed 0" in text and "my_deleted_cnn" not in text


def test_a_run_on_other_data_or_without_notebook_is_told(tmp_path):
    write(tmp_path / "explore" / "notebook.ipynb", "The data", figure("Faces"))
    make_run(tmp_path, "deep_cnn", pixels="b" * 64)
    make_run(tmp_path, "basic_cnn", seed=1)  # finished last
    plan = {"profile": "full", "runs": ["runs/deep_cnn/seed_0", "runs/basic_cnn/seed_0"]}
    (tmp_path / "study.json").write_text(json.dumps(plan))
    text = report.build(tmp_path).read_text()
    assert "Deep CNN, seed 0</strong>: its finished run is of other data" in text
    assert "Basic CNN, seed 0</strong>: no finished run" in text
    assert "Basic CNN, seed 1</strong>: no notebook, only a record" in text


def test_a_notebook_without_an_error_or_that_cannot_be_read_is_told(tmp_path):
    write(tmp_path / "stopped.ipynb", "Stopped")
    assert "stopped, or is still running" in troubles.error(tmp_path / "stopped.ipynb")
    (tmp_path / "cut.ipynb").write_text('{"cells": [')
    assert "cannot be read" in troubles.error(tmp_path / "cut.ipynb")


def test_every_image_has_alternative_text(page):
    images = re.findall(r"<img\b[^>]*>", page)
    assert len(images) == 7 + 1 + 3 * 2
    assert all(re.search(r'\balt="[^"]+"', image) for image in images)
    assert all(len(re.findall(r"\balt=", image)) == 1 for image in images)
    assert "No description has been provided" not in page


def test_page_loads_nothing_and_its_links_lead_somewhere(study, page):
    loaded = re.findall(
        r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"([^\"]*)\"", page
    )
    assert loaded and all(address.startswith("data:") for address in loaded)
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    assert not re.search(r"mathjax|require\.js", page, re.IGNORECASE)
    links = re.findall(r'<a\b[^>]*href="([^"]+)"', page)
    for address in links:
        assert address.startswith("#") or (study / address).is_file(), address
    places = ["report", "compare", "runs/hog_svm/seed_0", "benchmark"]
    assert {f"{place}/notebook.ipynb" for place in places} <= set(links)


def test_ids_are_unique_and_contents_lead_to_every_chapter(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="#([^"]+)"', contents) == ORDER


def test_a_styled_table_keeps_the_ids_that_its_style_is_for(tmp_path):
    styled = pd.DataFrame({"share": [0.1, 0.9]}).style.highlight_max(color="#ffd700")
    write(tmp_path / "n.ipynb", "Styled", shown(styled.to_html()), table(pd.DataFrame({"a": [1]})))
    body = notebook.read(tmp_path / "n.ipynb")[1]
    (cell,) = re.findall(r"#(T_\w+row1_col0)", body)
    assert f'id="{cell}"' in body and len(set(re.findall(r'id="(T_[0-9a-f]+)', body))) == 1


def test_page_shows_no_code_no_noise_and_no_empty_cell(page):
    assert SECRET not in html.unescape(page) and "hidden</pre>" not in page
    assert "WARNING" not in page and "<pre></pre>" not in page
    assert "Of the notebook alone" not in page and page.count(">Methods and limits</h2>") == 1
    assert not re.search(r'<div class="output">\s*</div>', page)


def test_headings_of_chapters_lie_below_the_pages(page):
    assert page.count("<h1") == 1
    assert page.count("<h3>Data</h3>") == 8 and page.count("<h4>Data</h4>") == 3


def test_verdicts_are_written_and_marked(page):
    for word in ("reproduced", "better", "worse", "cannot be decided"):
        assert f'<span class="verdict {word}">{word}</span>' in page


def test_every_number_has_its_command_commit_and_record(study, page):
    told = page[page.index('<section id="repeat"') :]
    rows = re.findall(r"<tr><td>.*?</tr>", told, flags=re.DOTALL)
    assert len(rows) == 4
    commands = [re.sub(r"<[^>]+>", "", re.search("<code>(.*?)</code>", r)[1]).strip() for r in rows]
    assert commands.count("./run_all.sh --data PATH --profile quick --only basic_cnn") == 2
    assert all("<td>x</td>" in row for row in rows)
    assert 'href="runs/basic_cnn/seed_0/holdout/metrics.json"' in rows[1]
    plan = {"profile": "/my/own.yaml", "parameters": {"train": {"on_bad": "skip", "resize": True}}}
    run = store.read_run(study / "runs" / "hog_svm" / "seed_0")
    run.metrics["data"] |= {"synthetic": True, "source": "synthetic:n=9,seed=2"}
    assert report.repeat(run, plan)["command"] == (
        "./run_all.sh --data synthetic:n=9,seed=2 --profile own.yaml --on-bad skip --resize "
        "--only hog_svm"
    )
    run.metrics["model"]["members"] = {"runs/fer_net/seed_0": "", "runs/fer_net/seed_1": ""}
    assert report.repeat(run, plan)["command"].endswith("--seeds 0 1 --only fer_net hog_svm")


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * d for d in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Contrast ratio of WCAG 2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_that_reading_needs(scheme):
    style = (report.HERE / "style.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block))
        for block in re.findall(r":root \{([^}]*--[^}]*)\}", style)
    )
    assert set(light) == set(dark)
    colours = light if scheme == "light" else dark
    fronts = re.findall(r"(?<![-\w])color: ([^;}]+)", style)
    assert all(re.fullmatch(r"var\(--\w+\)|inherit", front) for front in fronts)
    fronts = {name for front in fronts for name in re.findall(r"--(\w+)", front)}
    pairs = [*itertools.product(sorted(fronts), ["back", "panel"])]
    pairs += [*itertools.product(["text", "link"], ["notice", "trouble"])]
    for front, back in pairs:
        assert contrast(colours[front], colours[back]) >= 4.5, (front, back)


@pytest.fixture(params=SIZES, ids=str)
def opened(request, browser, study, page):
    """The browser with the report open, at one width and in one scheme."""
    browser.open((study / "report.html").as_uri(), *request.param)
    return browser


def test_in_a_browser_the_page_can_be_seen_and_read(browser, study, page):
    for width, scheme in SIZES:
        assert faults(browser, study / "report.html", width, scheme) == []
    assert browser.js("document.images.length") == 14


def test_in_a_browser_the_scheme_is_followed(opened, request):
    background = opened.js("getComputedStyle(document.body).backgroundColor")
    scheme = request.node.callspec.params["opened"][1]
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert opened.js("getComputedStyle(document.images[0]).backgroundColor") == (
        "rgba(0, 0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)"
    )


def test_in_a_browser_contents_lead_to_every_chapter(opened, request):
    width = request.node.callspec.params["opened"][0]
    assert opened.js("document.querySelector('nav details').open") == (width > 960)
    links = "[...document.querySelectorAll('nav a')]"
    assert opened.js(f"{links}.map(a => a.hash.slice(1))") == ORDER
    folded = "document.querySelector('#hog_svm-seed-0 details')"
    assert not opened.js(f"{folded}.open")
    opened.js(f"{links}.find(a => a.hash == '#hog_svm-seed-0').click()")
    opened.js("new Promise(done => setTimeout(done, 300))")
    assert opened.js(f"{folded}.open")
    top = opened.js("document.querySelector('#hog_svm-seed-0').getBoundingClientRect().top")
    assert 0 <= top < 100


COLUMN = """((part, table, name) => {
  const of = document.querySelectorAll(`#${part} table`)[table];
  const heads = [...of.tHead.rows[0].cells];
  const head = heads.find(h => h.textContent == name);
  return {head, texts: [...of.tBodies[0].rows].map(r => r.cells[heads.indexOf(head)].innerText)};
})"""


def column(browser, part, table, name):
    return browser.js(f"{COLUMN}({part!r}, {table}, {name!r}).texts")


def click(browser, part, table, name):
    """Click a header; its aria-sort and the column's texts then."""
    head = f"{COLUMN}({part!r}, {table}, {name!r}).head"
    browser.js(f"{head}.querySelector('button').click()")
    return browser.js(f"{head}.getAttribute('aria-sort')"), column(browser, part, table, name)


def test_in_a_browser_tables_sort_by_number(opened):
    assert column(opened, "explore", 0, "images") == ["1,200.000", "90.000", "10,000.000", "nan"]
    up = ("ascending", ["90.000", "1,200.000", "10,000.000", "nan"])
    assert click(opened, "explore", 0, "images") == up
    down = ("descending", ["10,000.000", "1,200.000", "90.000", "nan"])
    assert click(opened, "explore", 0, "images") == down
    assert click(opened, "explore", 0, "share") == ("ascending", ["9%", "10%", "85%", ""])
    assert opened.js("document.querySelectorAll('#explore [aria-sort]').length") == 1
    verdicts = click(opened, "compare", 1, "verdict")[1]
    assert verdicts == sorted(verdicts)


def test_in_a_browser_the_comparison_shows_the_recorded_accuracies(opened, study):
    recorded = pd.read_csv(study / "compare" / "comparison.csv")["accuracy"]
    assert column(opened, "compare", 0, "accuracy") == [f"{value:.3f}" for value in recorded]


def test_in_a_browser_printing_unfolds_everything(browser, study, page):
    browser.open((study / "report.html").as_uri(), 1280, "light")
    folded = "document.querySelectorAll('main details:not([open])').length"
    assert browser.js(folded) == 3
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js(folded) == 0
    browser("Emulation.setEmulatedMedia", media="print")
    assert browser.js("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.js("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js(folded) == 3
    browser("Emulation.setEmulatedMedia", media="")
