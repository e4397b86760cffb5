"""Verdicts: each kind of claim is judged by the right number, and untested ones say why."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from runs import make_run

from fer_utils import config as parameters
from fer_utils.base import ParameterError, ResultError
from fer_utils.runs import claims, pairs, papers

ANGER, DISGUST, FEAR, HAPPINESS, SADNESS, SURPRISE, NEUTRAL = range(7)
LABELS = np.arange(1400) % 7


def verdict_of(runs, claim, readings=()):
    table = claims.verdicts(runs, readings=readings).set_index("claim")
    return table.loc[next(name for name in table.index if claim in name)]


def confused(wrong):
    """Predictions for LABELS: `wrong` has how many of a class are taken for which other one."""
    predicted = LABELS.copy()
    for label, into in wrong.items():
        places = iter(np.flatnonzero(LABELS == label))
        for other, count in into.items():
            predicted[[next(places) for _ in range(count)]] = other
    return predicted


@pytest.mark.parametrize(
    ("printed", "first", "last", "half"),
    [
        ("44 %", 0.44, 0.44, 0.005), ("64.3 %", 0.643, 0.643, 0.0005), ("0.80", 0.8, 0.8, 0.005),
        ("45", 45, 45, 0.5), ("90 to 93 %", 0.9, 0.93, 0.005), ("276 of 467", 276 / 467, 276 / 467,
                                                               0.5 / 467),
    ],
)  # fmt: skip
def test_a_printed_value_has_half_of_its_last_digit(printed, first, last, half):
    claim = papers.Claim(claim="c", place="p", claimed=printed)
    assert claim.printed == pytest.approx((first, last, half))


@pytest.mark.parametrize(("correct", "verdict"), [(26, "reproduced"), (50, "higher"), (5, "lower")])
def test_verdict_follows_from_the_interval(tmp_path, correct, verdict):
    row = verdict_of([make_run(tmp_path, correct=correct, protocol="holdout")], "44 %")
    assert row["verdict"] == verdict and row["measured"] == pytest.approx(correct / 60)
    assert row["folder"] == "runs/basic_cnn/seed_0/holdout"
    assert f"{correct} of 60 images right, PublicTest, holdout protocol" in row["reason"]
    assert row["command"] == "./run_all.sh --data PATH --only basic_cnn"


def test_all_seeds_are_judged_together(tmp_path):
    """Seeds with 10, 37 and 12 of 60 right: their intervals together reach 61.7 %."""
    runs = [
        make_run(tmp_path, "six_layer_cnn", correct, seed=seed, protocol="publictest")
        for seed, correct in enumerate((10, 37, 12))
    ]
    row = verdict_of(runs, "61.7 %")
    assert row["verdict"] == "reproduced" and row["measured"] == pytest.approx(59 / 180)
    assert row["low"] < 10 / 60 and row["high"] > 37 / 60
    assert row["folder"].count(" and ") == 2
    assert verdict_of(runs[::2], "61.7 %")["verdict"] == "lower"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"synthetic": True}, "synthetic"),
        ({"protocol": "official"}, "no run of basic_cnn under the holdout protocol"),
        ({"epochs": 2}, "full profile"),
        ({"totals": {"Training": 28708, "PublicTest": 3589, "PrivateTest": 3589}}, "28,709"),
    ],
)
def test_a_claim_is_not_tested_by_other_data_protocols_and_recipes(tmp_path, change, reason):
    run = make_run(tmp_path, **{"correct": 50, "protocol": "holdout", **change})
    row = verdict_of([run], "44 %")
    assert row["verdict"] == "not tested" and reason in row["reason"]


IMAGENET = {"kind": "imagenet", "name": "x.h5", "sha256": None}


@pytest.mark.parametrize(
    ("weights", "options", "verdict", "word"),
    [
        (IMAGENET, {}, "reproduced", "validation, holdout"),
        (None, {"size": 48, "fine_tune": "all"}, "not tested", "without ImageNet weights"),
        (IMAGENET, {"fine_tune": "all"}, "not tested", "not run as in the paper"),
    ],
)
def test_resnet50_is_judged_with_imagenet_weights_alone(tmp_path, weights, options, verdict, word):
    run = make_run(tmp_path, "resnet50", 43, protocol="holdout", weights=weights, options=options)
    row = verdict_of([run], "72 % validation")
    assert row["verdict"] == verdict and word in row["reason"]
    assert np.isnan(row["measured"]) == (verdict == "not tested")  # another network's number


def test_an_order_needs_the_same_images_and_seeds(tmp_path):
    basic, other = (make_run(tmp_path, protocol="holdout", seed=seed) for seed in (0, 1))
    deep = make_run(tmp_path, "deep_cnn", 50, protocol="holdout")
    row = verdict_of([basic, other, deep], "Deep CNN scores above Basic")
    assert row["verdict"] == "holds" and row["measured"] == pytest.approx(20 / 60)
    assert row["folder"] == "runs/deep_cnn/seed_0/holdout and runs/basic_cnn/seed_0/holdout"
    assert "no seed is common" in verdict_of([other, deep], "above Basic CNN in the")["reason"]
    small = make_run(tmp_path / "small", protocol="holdout", n=40)
    row = verdict_of([small, deep], "Deep CNN scores above Basic")
    assert row["verdict"] == "not tested" and "not tested on the same images" in row["reason"]
    with pytest.raises(ValueError, match="not tested on the same images"):
        pairs.accuracy_difference(small, deep)


def test_readings_with_another_verdict_make_it_depend_on_what_is_open(tmp_path):
    run = make_run(tmp_path, "six_layer_cnn", 15, protocol="publictest")
    top = tmp_path / "readings"
    row = verdict_of([run], "61.7 %", (top,))
    assert row["verdict"] == "lower"
    missing = "60_epochs not yet run: python -m fer_utils.training params/readings/60_epochs/six_"
    assert missing in row["readings"]
    make_run(top / "60_epochs", "six_layer_cnn", 37, protocol="publictest", epochs=60)
    row = verdict_of([run], "61.7 %", (top,))
    assert row["verdict"] == "depends on the number of epochs"
    assert "as in params/models 25.0 %" in row["readings"] and "60_epochs 61.7 %" in row["readings"]
    row = verdict_of([run], "ten epochs", (top,))
    assert row["verdict"] == "does not hold" and row["measured"] == pytest.approx(-22 / 60)
    assert claims.counts(claims.verdicts([run], readings=(top,))).loc[
        "six-layer-2020", "depends on"
    ]


def test_a_reading_of_other_data_is_refused_with_its_file(tmp_path):
    run = make_run(tmp_path, "six_layer_cnn", 15, protocol="publictest")
    changes = {"protocol": "publictest", "epochs": 60, "synthetic": True}
    make_run(tmp_path / "60_epochs", "six_layer_cnn", **changes)
    with pytest.raises(ResultError, match=r"60_epochs/.*metrics.json: .*synthetic.*61.7 %") as e:
        claims.verdicts([run], readings=(tmp_path,))
    assert "\n" not in str(e.value)


def test_shares_and_averages_of_three_classes(tmp_path):
    happy, sad, neutral = range(3)
    labels = np.arange(300) % 3
    predicted = labels.copy()
    predicted[np.flatnonzero(labels == sad)[:27]] = neutral
    run = make_run(tmp_path, "dcnn_three_class", protocol="pooled", n=300, predicted=predicted)
    expected = {
        "167 of 608 sad": 0.27, "recall 0.68": 0.73, "precision 0.70": 100 / 127,
        "F1 0.74": 2 * 73 / 173, "macro F1": (1 + 2 * 73 / 173 + 2 * 100 / 227) / 3,
        "macro precision": (2 + 100 / 127) / 3, "macro recall": 2.73 / 3,
        "weighted precision": (2 + 100 / 127) / 3, "380 wrong": 273 / 300,
    }  # fmt: skip
    for claim, value in expected.items():
        row = verdict_of([run], claim)
        assert row["measured"] == pytest.approx(value), claim
        assert row["low"] < value < row["high"], claim
    assert verdict_of([run], "75 of 620 neutral")["verdict"] == "lower"  # fewer than printed
    table = claims.verdicts([run]).set_index(["paper", "claim"])["verdict"]
    assert table["korchi", "happy is recognised best"] == "holds"
    assert verdict_of([run], "pair that is confused most")["verdict"] == "holds"


@pytest.mark.parametrize(
    ("model", "protocol", "claim", "wrong", "verdict"),
    [
        ("pipeline_cnn", "official", "high for happiness and anger",
         {FEAR: {SADNESS: 90}, SADNESS: {FEAR: 50}}, "holds"),
        ("pipeline_cnn", "official", "high for happiness and anger", {ANGER: {FEAR: 90}},
         "does not hold"),
        ("pipeline_cnn", "official", "low for fear and disgust",
         {FEAR: {SADNESS: 90}, DISGUST: {ANGER: 80}, ANGER: {FEAR: 95}}, "holds"),  # not the lowest
        ("pipeline_cnn", "official", "neutral is confused",
         {FEAR: {SADNESS: 90}, NEUTRAL: {SURPRISE: 40}}, "holds"),
        ("pipeline_cnn", "official", "neutral is confused", {FEAR: {SADNESS: 90}}, "does not hold"),
        ("pipeline_cnn", "official", "are balanced", {FEAR: {SADNESS: 9}}, "holds"),
        ("pipeline_cnn", "official", "are balanced",
         {k: {HAPPINESS: 180} for k in (ANGER, FEAR, SADNESS, NEUTRAL)}, "does not hold"),
        ("six_layer_cnn", "publictest", "most misclassified",
         {FEAR: {SADNESS: 90}, SADNESS: {FEAR: 80}, ANGER: {FEAR: 70}}, "holds"),
        ("light_cnn", "kaggle", "sad is taken",
         {SADNESS: {ANGER: 30, FEAR: 25, NEUTRAL: 20, HAPPINESS: 5}}, "holds"),
        ("light_cnn", "kaggle", "sad is taken",
         {SADNESS: {ANGER: 30, FEAR: 5, NEUTRAL: 20, HAPPINESS: 9}}, "does not hold"),
    ],
)  # fmt: skip
def test_statements_about_classes(tmp_path, model, protocol, claim, wrong, verdict):
    run = make_run(tmp_path, model, protocol=protocol, n=1400, predicted=confused(wrong))
    assert verdict_of([run], claim)["verdict"] == verdict


CURVES = {
    "epoch": [1, 2, 3], "loss": [1.0, 0.8, 0.5], "accuracy": [0.5, 0.6, 0.91],
    "val_loss": [0.9, 0.7, 0.75], "val_accuracy": [0.6, 0.65, 0.61],
}  # fmt: skip


def test_curves_are_judged_by_what_keras_prints(tmp_path):
    heavy = make_run(tmp_path, "heavy_cnn", 55, protocol="kaggle", history=CURVES)
    calm = CURVES | {"accuracy": [0.5, 0.6, 0.7]}
    light = make_run(tmp_path, "light_cnn", 60, protocol="kaggle", history=calm)
    six = make_run(tmp_path, "six_layer_cnn", 55, protocol="publictest", history=CURVES)
    pipeline = make_run(tmp_path, "pipeline_cnn", history=CURVES)
    basic = make_run(tmp_path, protocol="holdout", history=CURVES | {"accuracy": [0.5, 0.6, 0.6]})
    runs = [heavy, light, six, pipeline, basic]
    for claim, value, verdict in [
        ("90 to 93 %", 0.91, "reproduced"), ("99.64 %", 0.91, "lower"), ("is 0.68", 0.5, "lower"),
        ("about 30 points", 0.3, "reproduced"), ("training and validation accuracy", 0.21, "holds"),
        ("is 1.01", -np.log(0.7), "lower"), ("above training accuracy", 2 / 3, "does not hold"),
        ("below training loss", 2 / 3, "does not hold"), ("fall steadily", 0.5, "holds"),
        ("epoch 7 to 8", 2, "lower"), ("Basic CNN closely tracks", 0.01, "holds"),
    ]:  # fmt: skip
        row = verdict_of(runs, claim)
        assert (row["verdict"], row["measured"]) == (verdict, pytest.approx(value)), claim
    assert "the saved network has 0.917" in verdict_of(runs, "90 to 93 %")["reason"]


def test_a_statement_may_hold_for_some_seeds(tmp_path):
    above = CURVES | {"accuracy": [0.5, 0.6, 0.6]}
    runs = [make_run(tmp_path, "pipeline_cnn", seed=seed, history=history)
            for seed, history in enumerate((CURVES, above))]  # fmt: skip
    row = verdict_of(runs, "above training accuracy")
    assert row["verdict"] == "holds for some seeds" and row["high"] == 1
    assert verdict_of(runs[1:], "above training accuracy")["verdict"] == "holds"


def test_every_claim_has_a_row_and_an_untested_one_says_why_and_what_would_test_it(tmp_path):
    table = claims.verdicts([make_run(tmp_path)])
    assert table.columns.tolist()[:9] == [
        "paper", "claim", "measure", "claimed", "measured", "low", "high", "verdict", "reason"
    ]  # fmt: skip
    assert len(table) == sum(len(paper.claims) for paper in claims.read().values())
    assert table["measure"].notna().sum() >= 60
    untested = table[table["verdict"] == "not tested"]
    assert untested[["reason", "command"]].notna().all(axis=None)
    assert not table.duplicated(["paper", "claim"]).any()
    # no measurement is counted twice
    kept = {"claim", "place", "claimed"}
    every = [claim for paper in claims.read().values() for claim in paper.claims if claim.run]
    content = [claim.model_dump(exclude=kept) for claim in every]
    assert len({json.dumps(each) for each in content}) == len(content)


def test_a_paper_names_the_runs_that_its_chapter_needs():
    for name in claims.papers():
        assert {*claims.needs(name)} <= {*parameters.names("models")}
        assert claims.paper(name).startswith(claims.read()[name].title)
    assert claims.needs("choudhari") == ["pipeline_cnn", "pca_knn", "hog_svm"]


GOOD = {"claim": "it is good", "place": "p", "run": "basic_cnn", "measure": "accuracy",
        "claimed": "50 %"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"measure": "acuracy"}, "`measure` is 'acuracy'; valid are accuracy"),
        ({"measure": None}, "`measure` is None"),
        ({"measure": "recall"}, "`emotion` is missing"),
        ({"measure": "recall", "emotion": "hapiness"}, "`emotion` is 'hapiness'; valid are"),
        ({"measure": "above"}, "`other` is missing"),
        ({"split": "testing"}, "`split` is 'testing'; valid are validation, test"),
        ({"claimed": "fifty"}, "`claimed` is 'fifty'; write what the paper prints"),
        ({"claimed": 0.5}, "`claimed` is 0.5 but must be string"),
        ({"run": "basic"}, "no run basic; known are"),
        ({"other": "70_epochs/basic_cnn"}, "no run 70_epochs/basic_cnn"),
        ({"run": None}, "`run` is missing, or `untested`"),
        ({"emotoin": "fear"}, "did you mean `emotion`"),
        ({"run": "hog_svm", "measure": "epochs"}, "hog_svm is not trained by epochs"),
        ({"run": "dcnn_three_class", "measure": "recall", "emotion": "anger"}, "no class anger"),
    ],
)
def test_a_wrong_claim_is_named_with_its_file_and_fault(tmp_path, monkeypatch, change, said):
    content = parameters.read_yaml(papers.FOLDER / "korchi.yaml")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content | {"claims": [GOOD | change]}))
    monkeypatch.setattr(papers, "FOLDER", tmp_path)
    with pytest.raises(ParameterError, match=r"mine.yaml, claim 1 \(it is good\): ") as e:
        claims.read()
    assert said in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"title": None}, "`title` is None"),
        ({"readings": [{"name": "9_epochs", "models": ["basic_cnn"], "open": "x"}]},
         "no params/readings/9_epochs/basic_cnn.yaml"),
        ({"readings": [{"name": "9", "models": ["basic_cnn"], "open": "x", "modells": 1}]},
         "did you mean `models`"),
        ({"systems": ["basic"]}, "basic is not a model"),
    ],
)  # fmt: skip
def test_a_wrong_paper_is_named_with_its_file_and_fault(tmp_path, monkeypatch, change, said):
    content = parameters.read_yaml(papers.FOLDER / "korchi.yaml")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content | change))
    monkeypatch.setattr(papers, "FOLDER", tmp_path)
    with pytest.raises(ParameterError, match="mine.yaml: ") as e:
        claims.read()
    assert said in str(e.value) and "\n" not in str(e.value)


FER2013_COUNTS = {
    "PublicTest": {"anger": 467, "fear": 496, "happiness": 895, "sadness": 653},
    "PrivateTest": {"anger": 491, "fear": 528, "happiness": 879, "sadness": 594},
}


def test_the_counts_of_six_layer_2020_fit_publictest_alone():
    table = papers.evidence_of_test_set(FER2013_COUNTS)
    assert table["PublicTest fits"].all() and not table["PrivateTest fits"].any()
    assert table["PublicTest"].tolist()[2:] == ["218 of 496 is 43.95 %", "325 of 653 is 49.77 %"]


def test_the_figure_shows_every_claim_in_words():
    from fer_utils import plots

    words = [*claims.VERDICTS[:-2], "depends on the epochs", claims.NOT_TESTED]
    table = pd.DataFrame({"paper": "p", "claim": words, "verdict": words, "measure": "accuracy"})
    table[["claimed", "measured", "low", "high", "up_to"]] = [0.5, 0.6, 0.55, 0.65, np.nan]
    figure = plots.claims(table.assign(printed="50 %"))
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == [f"{word} (1)" for word in plots.VERDICT_COLOURS]
