"""The HTML report of a small study and that of the reference: content, and use in a browser."""

import base64
import json
import shutil

import cv2
import nbformat.v4 as nb
import numpy as np
import pandas as pd
import pytest
from browser import SIZES, faults, opened
from bs4 import BeautifulSoup
from runs import make_run

from fer_utils import config, report
from fer_utils.base import ResultError
from fer_utils.report import build, opening
from fer_utils.runs import tables

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


ORDER = [
    "records", "korchi", "compare", "errors", "explore", "preprocess", "balance",
    "models", "methods", "repeat",
]  # fmt: skip


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three models that ran, one that failed, one that is missing, and every chapter."""
    study = tmp_path_factory.mktemp("results") / "quick"
    models = {"basic_cnn": 45, "dcnn_three_class": 50, "hog_svm": 9}
    runs = [make_run(study, model, correct, epochs=1) for model, correct in models.items()]
    runs.append(make_run(study, "basic_cnn", 33, protocol="holdout", epochs=1))
    bare = nb.new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})
    epochs = nb.new_output("stream", text="".join(f"epoch {i}\n" for i in range(60)))
    for model in models:
        of_model = study / "runs" / model / "seed_0" / "notebook.ipynb"
        write(of_model, "Train one model", epochs, bare)
    counts = pd.DataFrame({"images": [1200, 90, 10_000, None], "share": ["9%", "85%", "10%", ""]})
    verdicts = pd.DataFrame({"verdict": ["holds", "lower", "depends on x"] * 9, "reason": "x" * 99})
    for name in ("errors", "network", "explore", "balance", "preprocess", "korchi"):
        own = table(counts.assign(of=name))
        write(study / name / "notebook.ipynb", f"Chapter {name}", figure("A &lt;wide> one"), own,
              table(counts))  # fmt: skip
    write(study / "report" / "notebook.ipynb", "Not a chapter")
    columns = "title seed protocol accuracy accuracy_low accuracy_high n".split()
    write(study / "compare" / "notebook.ipynb", "Compared", table(tables.comparison(runs)[columns]),
          table(verdicts), shown(STYLED.to_html()))  # fmt: skip
    error = nb.new_output("error", ename="ValueError", evalue="no <room> left\nsecond line")
    for name in ("light_cnn_seed_0", "my_deleted_cnn_seed_0", "preprocess"):
        write(study / "failed" / f"{name}.ipynb", "Failed", error)
    write(study / "failed" / "balance.ipynb", "Stopped")
    (study / "failed" / "errors.ipynb").write_text('{"cells": [')
    names = [*models, "light_cnn", "pipeline_cnn"]
    plan = {"profile": "quick", "runs": [f"runs/{name}/seed_0" for name in names]}
    plan["recipes"] = {name: [{"title": f"The {name}"}] for name in names}
    (study / "study.json").write_text(json.dumps(plan))
    return study


@pytest.fixture(scope="module")
def page(study):
    return read(report.write_report(study))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The path of the reference's report."""
    return report.write_reference(tmp_path_factory.mktemp("reference") / "report.html")


def test_opens_with_the_reference_and_says_what_a_shortened_run_is(page):
    found = page.select_one("#found")
    verdicts = pd.read_csv(opening.REFERENCE / "verdicts.csv")
    held = verdicts["verdict"].isin(["reproduced", "holds"]).sum()
    first, accuracies, *_ = findings = found.select(".findings li")
    assert len(findings) == 5 and f"{held} of {len(verdicts)} claims" in first.text
    claimed = verdicts.query("run_id == 'basic_cnn' and measure == 'accuracy'").iloc[0]
    shown = f"Basic CNN ({100 * claimed.claimed:.3g} → {100 * claimed.measured:.1f} %)"
    assert shown in accuracies.text
    assert all(each["alt"] for each in found.select("figure img")) and len(found.select("img")) == 2
    note = " ".join(page.select_one(".run").text.split())
    assert "3 models" in note and "35,887 images of fer2013.csv" in note
    assert (
        "not all finished" in note and "machinery works" in note and not page.select(".run table")
    )


def test_a_whole_run_takes_the_place_of_the_reference_with_the_differences(tmp_path):
    needed = {opening.BASELINE, *opening.Study().printed["run_id"]}
    for model in needed:
        own = config.model(model)["paper_protocol"]
        for protocol in {own, "official"}:
            n = 2100 if model == "dcnn_three_class" else 3589
            correct = 2039 if (model, protocol) == ("basic_cnn", "holdout") else n // 3
            make_run(tmp_path, model, correct, protocol=protocol, n=n)
    for name, chapter in opening.FILES.items():
        write(tmp_path / chapter / "notebook.ipynb", chapter)
        shutil.copy(opening.REFERENCE / f"{name}.csv", tmp_path / chapter)
    found = read(report.write_report(tmp_path))
    assert f"{len(list(tmp_path.rglob('metrics.json')))} runs, 2026-01-01" in found.header.text
    assert {each["href"] for each in found.select(".findings a")} >= {"#compare", "#errors"}
    assert not found.select("#records")
    rows = [[cell.text for cell in row.select("td")] for row in found.select(".run tbody tr")]
    same = ["Basic CNN, seed 0", "56.8", "56.8", "0.0", "55.2 to 58.4", "yes", "holdout"]
    assert same in rows and "no" in {row[5] for row in rows}


def test_failed_and_missing_models_are_named(page):
    top = page.select_one(".trouble")
    stopped, unreadable, light, preprocess, missing = (each.text for each in top.select("li"))
    assert "Chapter balance: not finished: its notebook was stopped, or is still" in stopped
    assert "Chapter errors: failed, and its notebook cannot be read" in unreadable
    assert light.startswith("The light_cnn, seed 0: failed with ValueError: no <room> left (")
    assert top.select("a")[2]["href"] == "failed/light_cnn_seed_0.ipynb"
    assert "second line" not in page.text and "my_deleted_cnn" not in page.text
    assert "Chapter preprocess: failed with ValueError: no <room> left; its chapter" in preprocess
    assert missing == "The pipeline_cnn, seed 0: no finished run"


def test_a_study_without_any_finished_model_or_plan_has_a_report(tmp_path):
    write(tmp_path / "explore" / "notebook.ipynb", "The data", figure("Faces"))
    assert "Not everything ran" not in report.write_report(tmp_path).read_text()
    make_run(tmp_path, "deep_cnn", pixels="b" * 64)
    make_run(tmp_path, "basic_cnn", seed=1)  # finished last
    names = ("deep_cnn", "basic_cnn", "light_cnn")
    plan = {"profile": "demo", "runs": [f"runs/{name}/seed_0" for name in names]}
    (tmp_path / "study.json").write_text(json.dumps(plan))
    text = report.write_report(tmp_path).read_text()
    assert "light_cnn, seed 0</strong>: no finished run" in text
    assert "Deep CNN, seed 0</strong>: its finished run is of other data" in text
    assert "Basic CNN, seed 1</strong>: no notebook, only a record" in text
    with pytest.raises(ResultError, match="no executed notebook"):
        report.write_report(tmp_path / "explore")
    (tmp_path / "study.json").write_text('{"runs": [')
    with pytest.raises(ResultError, match="study.json: cannot be read"):
        build.read_plan(tmp_path)


def test_chapters_are_in_order_and_every_link_leads_somewhere(study, page, reference):
    assert [each["id"] for each in page.select("main > section[id]")] == ORDER
    for folder, shown in ((study, page), (opening.REFERENCE, read(reference))):
        ids = [each["id"] for each in shown.select("[id]")]
        assert len(ids) == len(set(ids))
        links = {each["href"] for each in shown.select("a") if "://" not in each["href"]}
        files = {link.partition("#")[0] for link in links if not link.startswith(("#", "data:"))}
        assert all((folder / name).is_file() for name in files)
        assert {link[1:] for link in links if link.startswith("#")} <= {*ids}
        loaded = [each.get("src", each.get("href")) for each in shown.select("[src], link")]
        assert {address[:5] for address in loaded} == {"data:"}
        text = str(shown)
        assert "url(" not in text and "@import" not in text and "default-src 'none'" in text


def test_every_figure_has_its_cell_and_data_and_nothing_is_shown_twice(study, page):
    assert not any(word in page.text for word in (SECRET, "hidden", "WARNING", "notebook alone"))
    drawn = page.select("main > section:not(#models) figure")
    assert len(drawn) == 1  # of six chapters with the same one
    link = drawn[0].select_one(".source a")["href"]
    assert link.startswith("korchi/notebook.ipynb#cell-id=")
    assert len(page.select("main > section > .output table:-soup-contains('85%')")) == 5 + 1
    data = page.select_one("#found figure a[download]")["href"].partition(",")[2]
    assert base64.b64decode(data) == (opening.REFERENCE / "verdicts.csv").read_bytes()
    style = page.select_one("#compare .output style:-soup-contains('background')")
    assert page.select_one(f"#compare {style.text.split()[0]}").text == "0.100000"


def test_every_number_has_its_command_commit_and_record(study, page):
    rows = [[cell.text for cell in row.select("td")] for row in page.select("#repeat tbody tr")]
    command = "./run_all.sh --data PATH --profile quick --only basic_cnn"
    assert rows[0][1:6] == ["75.0", "official", "PrivateTest", command, "x"]
    assert "runs/basic_cnn/seed_0/holdout/metrics.json" in str(page.select("#repeat a")[1])


def test_the_reference_has_no_face_and_is_small(reference):
    shown = read(reference)
    assert reference.stat().st_size < 3e6 and len(shown.select(".model")) >= 12
    for image in shown.select("img"):
        kind, _, data = image["src"].partition(";base64,")
        assert kind == "data:image/svg+xml" and b"<image" not in base64.b64decode(data)


@pytest.mark.parametrize("size", SIZES)
def test_in_a_browser_both_reports_are_sound(browser, study, page, reference, size):
    assert faults(browser, study / "report.html", *size) == []
    assert faults(browser, reference, *size) == []


@pytest.fixture(params=[1280, 390])
def shown_page(request, browser, study, page):
    return opened(browser, study / "report.html", request.param)


def test_in_a_browser_contents_lead_to_every_chapter(shown_page):
    narrow = shown_page.viewport_size["width"] < 960
    link, model = shown_page.locator("nav li li a").last, shown_page.locator("#hog_svm-seed-0")
    if narrow:
        assert not link.is_visible()
        shown_page.locator("nav summary").click()
    assert not model.locator("h4").first.is_visible()
    link.click()
    model.locator("h4").first.wait_for()  # unfolded
    assert 0 <= model.bounding_box()["y"] < 100
    assert link.is_visible() != narrow
    shown_page.locator(".findings a").nth(2).click()
    shown_page.locator("#study-one-test-for-all table").first.wait_for()


def test_in_a_browser_tables_sort_filter_and_show_per_cent(shown_page):
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
    compared, verdicts = shown_page.locator("#compare table").all()[:2]
    assert column(compared, 2) == ["75.0", "83.3", "15.0", "55.0"]
    assert column(compared, 3)[0] == "62.8 to 84.2"
    shown_page.locator("#compare details summary").click()  # a long table is folded
    shown_page.locator("#compare").get_by_role("searchbox").fill("Lower")
    assert column(verdicts, 1) == ["lower"] * 9
    assert verdicts.locator("td.verdict.lower").count() == 9


def test_in_a_browser_the_keyboard_reaches_everything(shown_page):
    shown_page.locator("#compare details summary").press("Enter")
    wanted = "a, button, input, summary, [tabindex]"
    shown_page.evaluate(f"""() => {{
      const all = [...document.querySelectorAll("{wanted}")];
      window.missed = new Set(all.filter(n => n.checkVisibility()));
      document.addEventListener("focusin", event => window.missed.delete(event.target));
      document.activeElement.blur();
    }}""")
    for _ in range(shown_page.evaluate("window.missed.size") + 20):
        shown_page.keyboard.press("Tab")
    assert shown_page.evaluate("[...window.missed].map(n => n.outerHTML.slice(0, 80))") == []
    shown_page.locator("#hog_svm-seed-0 summary").first.press("Enter")
    assert shown_page.locator("#hog_svm-seed-0 h4").first.is_visible()


def test_in_a_browser_printing_unfolds_everything(browser, study, page):
    page = opened(browser, study / "report.html", scheme="dark")
    page.emulate_media(media="print", color_scheme="light")
    assert page.locator("#hog_svm-seed-0 details pre").last.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf(format="A4")) > 50_000
