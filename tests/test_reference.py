"""The committed results: tables follow from records, the README from the tables, checks decide."""

import json
import re
from functools import partial

import pandas as pd
import pytest
from runs import make_run

from fer_utils import claims, export, parameters, pretrained, reference, results, study, trials
from fer_utils.parameters import PARAMS, ROOT, ParameterError


@pytest.fixture(scope="module")
def committed():
    if not list(reference.FOLDER.glob("runs/*/seed_*/metrics.json")):
        pytest.skip("no reference results in this checkout")
    return reference.read()


def table(name):
    return pd.read_csv(reference.FOLDER / name)


def test_comparison_follows_from_the_records(committed, tmp_path):
    results.save_table(results.comparison(committed), tmp_path / "comparison.csv")
    again, kept = pd.read_csv(tmp_path / "comparison.csv"), table("comparison.csv")
    pd.testing.assert_frame_equal(again, kept, check_exact=True)


def test_verdicts_follow_from_the_records(committed, tmp_path):
    results.save_table(claims.verdicts(committed), tmp_path / "verdicts.csv")
    again, kept = pd.read_csv(tmp_path / "verdicts.csv"), table("verdicts.csv")
    # predictions are not committed, so these have no interval here and no verdict
    alone = ~kept["measure"].isin(claims.OF_PREDICTIONS) | kept["folder"].isna()
    pd.testing.assert_frame_equal(again[alone], kept[alone])
    others = kept[~alone]
    pd.testing.assert_series_equal(again["measured"], kept["measured"], atol=1e-4)
    assert again["claim"].tolist() == kept["claim"].tolist() and len(others)
    for row in others.to_dict("records"):
        (claim,) = [each for each in claims.read() if each["claim"] == row["claim"]]
        measured = claims.Measured(row["measured"], row["low"], row["high"], "")
        assert claims._verdict(claim, measured) == row["verdict"]


def test_every_number_of_the_readme_s_result_table_is_in_the_tables(committed):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^\| model \| paper .*?\n(?!\|)", text, re.MULTILINE | re.DOTALL)
    assert shown.splitlines() == reference.summary(table("comparison.csv")).splitlines()


def test_several_seeds_are_one_row_more_and_models_without_a_run_the_last_ones(tmp_path):
    runs = [make_run(tmp_path, "hog_svm", correct=24)]
    runs.append(make_run(tmp_path, "dcnn_three_class", correct=48, protocol="pooled"))
    runs.append(make_run(tmp_path, "resnet50", correct=20))
    for seed, correct in ((0, 30), (1, 36), (2, 33)):
        runs.append(make_run(tmp_path, "basic_cnn", correct=correct, seed=seed))
        own = make_run(tmp_path, "basic_cnn", correct=correct + 6, seed=seed, protocol="holdout")
        runs.append(own)
    runs += [make_run(tmp_path, "pipeline_cnn", correct=22, seed=seed) for seed in (0, 1)]
    table = results.comparison(runs)
    table.loc[table["run_id"] == "resnet50", "title"] += " from scratch"
    for end, shift in (("", 0), ("_low", -0.1), ("_high", 0.1)):
        table["accuracy_not_in_training" + end] = table["accuracy"] - 0.2 + shift
    lacking = table.drop(table.query("protocol == 'holdout' and seed == 2").index)
    assert " seeds (lowest to highest) | engdata301 |  |  | 55.0 (" in reference.summary(lacking)
    other = table.assign(title=table["title"].where(table["seed"] < 1, "from other weights"))
    assert " seeds (lowest to highest)" not in reference.summary(other)
    rows = reference.summary(table).splitlines()[2:]
    assert rows[0].startswith("| `basic_cnn` | engdata301 | 44 | 60.0 (")
    assert rows[0].endswith("| 30.0 (20.0 to 40.0) |")
    assert rows[1] == (
        "| `basic_cnn`, mean of 3 seeds (lowest to highest) | engdata301 |  "
        "| 65.0 (60.0 to 70.0) | 55.0 (50.0 to 60.0) | 35.0 (30.0 to 40.0) |"
    )
    assert rows[2].startswith("| `hog_svm` | baseline |  |  | 40.0 (")
    assert rows[4] == (  # the paper's protocol is the common one
        "| `pipeline_cnn`, mean of 2 seeds (lowest to highest) | choudhari |  |  "
        "| 36.7 (36.7 to 36.7) | 16.7 (16.7 to 16.7) |"
    )
    assert rows[5].startswith("| `resnet50`, from scratch | engdata301 |  |  | 33.3 (")
    assert rows[6].startswith("| `dcnn_three_class`, 3 classes | korchi | 82.1 | 80.0 (")
    assert rows[6].endswith(") * | not run yet | |")
    assert "| `six_layer_cnn` | six-layer-2020 | 61.7 | not run yet | | |" in rows[7:]
    assert not any("fer_net_large" in row for row in rows)  # runs on request only


@pytest.fixture(scope="module")
def page():
    """The page on the results, its lines joined."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    return " ".join(text.split())


def written(score):
    shares = [100 * score[f"accuracy{part}"] for part in ("", "_low", "_high")]
    return "{:.1f} % ({:.1f} to {:.1f})".format(*shares)


@pytest.mark.parametrize(
    "network, seed, small, in_readme",
    [
        ("fer_net", 0, True, True),
        ("fer_net", 1, False, True),
        ("fer_net", 2, False, True),
        ("fer_net_long", 0, True, True),
        ("fer_net_large", 0, False, True),
        ("fer_net_large", 1, False, True),
        ("fer_net_ensemble", 0, False, True),
        *(("fer_net_distilled", seed, False, False) for seed in range(3)),
    ],
)
def test_every_number_of_the_tables_on_fer_net_is_in_its_record(
    committed, page, network, seed, small, in_readme
):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    folder = reference.FOLDER / "runs" / network / f"seed_{seed}"
    scores = pretrained.record(folder)["scores"]
    small = json.loads((folder / export.INT8_RECORD).read_text()) if small else {}
    rows = []
    for split in ("PublicTest", "PrivateTest", "PrivateTest_not_in_training"):
        name = split.replace("_not_in_training", " without known images")
        one, several = scores[split], scores[split.replace("Test", "Test_views")]
        eight = f"{100 * small[split]['accuracy']:.1f} %" if split in small else ""
        rows.append(" | ".join([name, written(one), written(several), *filter(None, [eight])]))
        if in_readme and split != "PublicTest":
            assert written(several) in readme
    if small:
        assert all(f"| {row} |" in page for row in rows)
    else:
        title = f"`{network}`" if network != "fer_net" else "FER-Net"
        title += f", seed {seed}" if network != "fer_net_ensemble" else ""
        assert re.search(
            rf"\| {title} \| one view \| \w+ views \| \|---\|---\|---\| "
            + " ".join(re.escape(f"| {row} |") for row in rows),
            page,
        )


def test_what_is_told_of_the_longer_recipe_is_in_its_record(committed, page):
    runs = {run.metrics["run_id"]: run for run in committed if run.metrics["seed"] == 0}
    long, first = runs["fer_net_long"], runs["fer_net"]
    shares = [100 * run.metrics["scores"]["Training"]["accuracy"] for run in (long, first)]
    assert "right on {:.1f} % of the Training images, FER-Net on {:.1f} %".format(*shares) in page
    epochs = long.history.set_index("epoch")
    assert f"({len(epochs)} epochs," in page and f"{long.metrics['model']['views']} views" in page
    ends = 100 * epochs.loc[[61, len(epochs)], ["accuracy", "val_accuracy"]]
    words = "rises from {:.1f} to {:.1f} %, while PublicTest stays at {:.1f} and {:.1f} %"
    assert words.format(*ends["accuracy"], *ends["val_accuracy"]) in page
    medians = epochs.groupby("image_size")["seconds"].median()
    assert f"at the median seconds of each size it is {24 * medians.sum() / 3600:.1f}" in page
    text = (PARAMS / "models" / "fer_net_long.yaml").read_text(encoding="utf-8")
    assert "about {:.0f}, {:.0f} and {:.0f} s each".format(*medians) in text
    small = json.loads((reference.FOLDER / long.place / export.INT8_RECORD).read_text())
    assert f"{small['bytes'] / 1e6:.2f} MB ({small['bytes'] / 2**20:.2f} MiB)" in page
    assert f"{long.metrics['timing']['training_seconds'] / 3600:.1f} hours" in page


def test_what_is_told_of_views_sizes_speeds_and_votes_is_in_the_chapter_s_tables(committed, page):
    more = table("more_views.csv").iloc[-1]
    shares = [100 * more[part] for part in ("gain", "gain_low", "gain_high")]
    gain = "{:.1f} points ({:.1f} to {:.1f})".format(*shares)
    assert f"gets {written(more)} right, {gain} more than one view" in page
    speeds = table("speeds.csv").set_index("form")
    for form in ("TensorFlow Lite", "TensorFlow Lite, int8"):
        assert f"{speeds.loc[form, 'megabytes']:.2f}" in page
        assert f"{speeds.loc[form, 'batch_1']:,.0f}" in page
    yardstick = 100 * table("yardstick.csv").set_index("predictor")["accuracy"]
    for name in ("leading vote", "logistic regression", "random forest"):
        assert f"{yardstick[f'votes, {name}']:.1f} % ({name}" in page
    assert f"FER-Net from the image that of {yardstick['FER-Net, seed 0']:.1f} %" in page


def test_the_table_of_trials_is_its_record(committed, page):
    rows = table("trials.csv").set_index("trial")
    shown = re.findall(r"\| `(\w+)`[^|]*\| ([\d.]+ % \([\d.]+ to [\d.]+\)) \| ([^|]*)\|", page)
    assert [name for name, _, _ in shown] == rows.index.tolist()
    for name, score, gain in shown:
        row = 100 * rows.loc[name, ["accuracy", "accuracy_low", "accuracy_high"]].astype(float)
        assert score == "{:.1f} % ({:.1f} to {:.1f})".format(*row)
        more = 100 * rows.loc[name, ["gain", "gain_low", "gain_high"]].astype(float)
        told = "" if more.isna().all() else "{:.1f} ({:.1f} to {:.1f})".format(*more)
        assert gain.strip() == told
    planned = {name: trial["training"]["epochs"] for name, trial in trials.read().items()}
    assert rows["epochs"].to_dict() == {name: planned[name] for name in rows.index}
    assert (rows["seed"] == 0).all()


def test_what_is_told_of_the_networks_from_a_gpu_is_in_their_records(committed, page):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    of = {}
    for run in committed:
        of.setdefault(run.metrics["run_id"], []).append(run)
    large, small = of["fer_net_large"], of["fer_net_distilled"]
    assert {run.metrics["environment"]["device"] for run in large + small} == {
        "NVIDIA H100 80GB HBM3"
    }

    def shares(runs, split):
        return [100 * run.metrics["scores"][split]["accuracy"] for run in runs]

    views = shares(small, "PrivateTest_views")
    mean = sum(views) / len(views)
    assert f"{mean:.1f} % with 18 views ({min(views):.1f} to {max(views):.1f})" in page
    assert f"gets {mean:.1f} % over three seeds" in readme
    views = shares(of["fer_net"], "PrivateTest_views")
    mean = sum(views) / len(views)
    assert f"FER-Net by its own ten views {mean:.1f} %" in page
    assert f"The mean of the three with ten views is {mean:.1f} %" in page
    assert f"the mean of the three is {mean:.1f} %" in readme
    told = "get {:.1f} and {:.1f} % of PrivateTest"
    assert told.format(*shares(large, "PrivateTest_views")) in page
    assert {f"{share:.0f}" for share in shares(large, "Training")} == {"79"}
    assert f"It is right on {shares(small, 'Training')[0]:.1f} % of the Training images" in page
    epochs = 100 * large[0].history.set_index("epoch")[["accuracy", "val_accuracy"]].loc[[56, 60]]
    words = "rises from {:.1f} to {:.1f} % and on PublicTest from {:.1f} to {:.1f} %"
    assert words.format(*epochs["accuracy"], *epochs["val_accuracy"]) in page
    for runs, words in (
        (large, "took {:.1f} with two side by side ({:,.0f} images"),
        (small, "network {:.1f} with three ({:,.0f} each)"),
    ):
        seconds = runs[0].history["seconds"].median()
        speed = round(runs[0].metrics["timing"]["images_per_second"], -2)
        assert words.format(seconds, speed) in page
    teachers = [
        run.metrics["params"]["training"]["distillation"]["teacher"]["run"][-1] for run in small
    ]
    assert teachers == ["0", "1", "0"]
    (ensemble,) = of["fer_net_ensemble"]
    assert [*ensemble.metrics["model"]["members"]] == [run.place for run in large]


def test_every_number_of_the_table_of_readings_is_in_a_record(committed, page):
    of_run = next(run for run in committed if run.metrics["run_id"] == "pipeline_cnn").metrics
    other = reference.FOLDER / "readings" / "pipeline_cnn_1e-4" / "metrics.json"
    other = json.loads(other.read_text(encoding="utf-8"))
    assert other["params"]["training"] == of_run["params"]["training"] | {"learning_rate": 1e-4}
    for record, split in ((of_run, "PrivateTest"), (of_run, "PublicTest"), (other, "PublicTest")):
        recalls = [each["recall"] for each in record["scores"][split]["per_class"].values()]
        assert f"{split} | {' | '.join(f'{100 * share:.0f} %' for share in recalls)} |" in page


def test_every_number_of_the_table_of_speeds_is_measured(committed, page):
    for model, rows in table("benchmark.csv").groupby("model"):
        speeds = zip(rows["images_per_second"], rows["lowest"], rows["highest"], strict=True)
        cells = [f"{middle:,.0f} ({low:,.0f} to {high:,.0f})" for middle, low, high in speeds]
        assert f"| `{model}` | {' | '.join(cells)} |" in page


def test_every_difference_that_the_findings_tell_is_in_the_tables(committed, page):
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    def told_in_both(text):
        assert text in said and text in page

    def differences(name):
        rows = table(name).set_index(["first", "second"])[["difference", "low", "high"]]
        turned = -rows[["difference", "high", "low"]]
        turned.index, turned.columns = turned.index.swaplevel(), rows.columns
        return 100 * pd.concat([rows, turned])

    def told(row):
        return "{:.1f}{}{:.1f} to {:.1f}".format(row.iloc[0], "{}", *row.iloc[1:])

    every, apart = differences("mcnemar.csv"), differences("mcnemar_without_known.csv")
    lead = every.loc[("FER-Net", "Deep CNN")], apart.loc[("FER-Net", "Deep CNN")]
    assert f"Deep CNN falls from {lead[0].iloc[0]:.1f} to {lead[1].iloc[0]:.1f} points" in said
    told_in_both(f"is another {told(lead[1]).format(' (')}) above the Deep CNN")
    pair = told(apart.loc[("Deep CNN", "Light CNN")]).format(" points (")
    assert f"they differ by {pair}), which does not outlast the correction for 28 pairs" in page
    low, high = ["Basic CNN", "Six-layer CNN", "HOG + SVM"], ["Deep CNN", "Light CNN"]
    among = apart.loc[[(a, b) for a in low for b in low if a != b]]
    over = apart.loc[[(a, b) for a in high for b in low], "difference"]
    assert f"differences up to {among['difference'].max():.1f} points" in page
    assert f"intervals within {among['high'].max():.1f} either way" in page
    told_in_both(f"are {over.min():.1f} to {over.max():.1f} points above these three")
    first = table("comparison.csv").query("seed == 0")
    of = first.set_index(["run_id", "protocol"]).loc
    lose = [
        100 * (of[name, "holdout"]["validation_accuracy"] - of[name, "holdout"]["accuracy"])
        for name in ("basic_cnn", "deep_cnn")
    ]
    assert "lose {:.1f} (Basic) and {:.1f} (Deep CNN)".format(*lose) in page
    common = first.query("protocol == 'official'").set_index("run_id")
    lost = 100 * (common["accuracy"] - common["accuracy_not_in_training"])
    told_in_both(f"scores {lost.min():.1f} to {lost.max():.1f} points lower")
    known = lost * 3301 / 288 + 100 * common["accuracy"]  # right, of the 288 images
    share = "{:.1f} % of the 288 right, but {:.1f} % of all images that it was trained on"
    found = share.format(known["pipeline_cnn"], 100 * common["train_accuracy"]["pipeline_cnn"])
    assert f"{found}; the Basic CNN {known['basic_cnn']:.1f} and" in page
    order = 100 * table("verdicts.csv").set_index("claim").loc[
        "Deep CNN scores above Basic CNN (results)", ["measured", "low", "high"]
    ].astype(float)
    assert f"as stated, another {told(order).format(' points (')})" in said


def test_what_is_told_of_the_seeds_is_in_the_tables(committed, page):
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows, spread = table("comparison.csv").sort_values("seed"), {}

    def told(values, protocol="common"):
        spread[protocol] = max(spread.get(protocol, 0), 100 * (values.max() - values.min()))
        return ", ".join(f"{100 * value:.1f}" for value in values)

    several = {
        "basic_cnn": "Basic CNN",
        "six_layer_cnn": "Six-layer CNN",
        "pipeline_cnn": "Pipeline CNN",
        "fer_net": "FER-Net",
        "fer_net_distilled": "FER-Net, distilled",
        "fer_net_large": "FER-Net large (seeds 0 and 1)",
    }
    assert set(rows.loc[rows["seed"] > 0, "run_id"]) == set(several)
    for name, title in several.items():
        of = rows[rows["run_id"] == name]
        common, own = (of[(of["protocol"] == "official") == here] for here in (True, False))
        cells = [told(own["accuracy"], "own") if len(own) else "the common one"]
        cells += [told(common["accuracy"]), told(common["accuracy_not_in_training"])]
        assert f"| {title} | {' | '.join(cells)} |" in page
    words = (
        "by up to {common:.1f} points under the common protocol and {own:.1f} under a paper's own"
    )
    assert words.format(**spread) in text and words.format(**spread) in page
    apart = rows.query("protocol == 'official'").set_index("run_id")["accuracy_not_in_training"]
    low = 100 * apart.loc[["basic_cnn", "six_layer_cnn"]]
    svm, high = 100 * apart["hog_svm"], 100 * apart.loc[["deep_cnn", "light_cnn"]]
    over = low.min() - svm, low.max() - svm
    assert "they lie {:.1f} to {:.1f} points above the SVM".format(*over) in page
    assert f"they are up to {over[1]:.1f} points above it" in text
    further = f"{high.min() - low.max():.1f} to {high.max() - min(svm, low.min()):.1f}"
    words = f"{further} with the other seeds of the Basic and the Six-layer CNN"
    assert words in " ".join(text.split()) and words in page
    runs = {run.place: run for run in committed}
    of = [runs[f"runs/six_layer_cnn/seed_{seed}/publictest"].test for seed in range(3)]
    angry = [100 * score["per_class"]["anger"]["recall"] for score in of]
    assert "gets {:.0f}, {:.0f} and {:.0f} % of the angry".format(*angry) in page
    decided = table("verdicts.csv").query("verdict != @claims.UNDECIDED")
    others = decided[decided["reason"].str.contains(r"by seeds? 1")]
    unsteady = others[~others["reason"].str.contains("the same verdict by")]
    numbers = "no one two three four five six seven eight nine ten".split()
    nine, four = numbers[len(others)], numbers[len(unsteady)]
    assert f"of the {nine} decided claims about them alone {four} change" in text
    assert f"Of the {nine} decided claims about these networks alone, {four} get another" in page
    of = unsteady["measure"].value_counts()
    assert of.to_dict() == {"recall": 3, "validation_above_training": 1}
    assert "three on single classes and one on a curve; the two on accuracies do not" in text
    assert others["measure"].value_counts()["accuracy"] == 2


def test_what_is_told_of_hejslet_vetterstein_s_networks_is_in_their_runs(committed, page):
    of = table("comparison.csv").query("seed == 0").set_index(["run_id", "protocol"]).loc
    heavy, light = (
        [of[name, p] for p in ("official", "kaggle")] for name in ("heavy_cnn", "light_cnn")
    )
    times = heavy[0]["parameters"] / light[0]["parameters"]
    more = [100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(heavy, light, strict=True)]
    assert f"{times:.1f} times the Light one's parameters it scores {-more[0]:.1f} points" in page
    assert f"lower under the common protocol and {more[1]:.1f} higher under the paper's" in page
    runs, measures = {run.place: run for run in committed}, {}
    for name in ("heavy", "light"):
        for protocol in ("official", "kaggle"):
            row = of[f"{name}_cnn", protocol]
            run = runs[f"runs/{name}_cnn/seed_0" + "/kaggle" * (protocol == "kaggle")]
            classes = run.metrics["scores"]["Training"]["per_class"].values()
            recall, last = sum(each["recall"] for each in classes) / 7, run.history.iloc[-1]
            shares = [last["accuracy"], recall, row["train_accuracy"]]
            validation = row["validation_accuracy"]
            ends = last["val_accuracy"], validation, validation
            # in the order of the text: the saved network, its mean recall, the running value
            measures[name, protocol] = [
                f"{100 * (share - end):.1f}"
                for share, end in zip(reversed(shares), reversed(ends), strict=True)
            ]
            cells = "| {:.1f} % | {:.1f} % | {:.1f} % |".format(*(100 * x for x in shares))
            assert protocol == "official" or cells in page
    own, shared = (
        [" to ".join(ends) for ends in zip(measures["heavy", p], measures["light", p], strict=True)]
        for p in ("kaggle", "official")
    )
    text = (
        "from {} points, by mean recall on Training less accuracy in validation {}, "
        "the last epoch's running values {};"
    )
    assert text.format(*own) in page
    assert "narrows less: {}, {} and {}.".format(*shared) in page
    assert f"one seed, it scores {more[1]:.1f} points lower" in page
    assert f"Under the common one it scores {-more[0]:.1f} points higher" in page


def test_what_is_told_of_resnet50_from_scratch_is_in_its_runs(committed, page):
    runs = {run.place: run for run in committed}
    common, own = (runs[f"runs/resnet50/seed_0{rest}"] for rest in ("", "/holdout"))
    assert "from scratch" in common.metrics["params"]["title"]
    scores = [run.test for run in (common, own)]
    cells = [[100 * s[f"accuracy{end}"] for end in ("", "_low", "_high")] for s in scores]
    first, second = ("{:.1f} % ({:.1f} to {:.1f}) of ".format(*each) for each in cells)
    assert f"gets {first}PrivateTest" in page and f"and {second}PublicTest" in page
    chosen = 100 * common.metrics["scores"]["PublicTest"]["accuracy"]
    assert f"the first one {chosen:.1f} % of the same images, which chose its epoch" in page
    trained = [
        100 * run.metrics["scores"][run.metrics["protocol"]["train"]]["accuracy"]
        for run in (common, own)
    ]
    assert "{:.1f} and {:.1f} % right on what trained them".format(*trained) in page
    called = [[sum(column) for column in zip(*s["confusion"], strict=True)] for s in scores]
    assert all(sum(of[:2]) == 0 for of in called) and "call no image angry or disgusted" in page


def test_what_is_told_of_korchi_s_network_is_in_its_run(committed, page):
    place = "runs/dcnn_three_class/seed_0"
    common, run = (
        next(run for run in committed if run.place == each) for each in (place, f"{place}/pooled")
    )
    scores, end = run.metrics["scores"], run.metrics["model"]
    for split, told in (
        ("test", "gets {:.1f} % ({:.1f} to {:.1f}) of 2,127 images right"),
        ("test_not_in_training", "without these it is {:.1f} % ({:.1f} to {:.1f})"),
        ("PrivateTest", "gets {:.1f} % ({:.1f} to {:.1f}) of PrivateTest's 2,099 images"),
        ("PrivateTest_not_in_training", "{:.1f} % ({:.1f} to {:.1f}) without known ones"),
    ):
        score = (common.metrics["scores"] if split[0] == "P" else scores)[split]
        shares = (100 * score[f"accuracy{part}"] for part in ("", "_low", "_high"))
        assert told.format(*shares) in page
    known = scores["test"]["n"] - scores["test_not_in_training"]["n"]
    assert f"and {known} of them occur" in page
    assert f"stops after epoch {end['epochs_run']}, not near 45" in page
    other = common.metrics["model"]
    words = f"stops after epoch {other['epochs_run']}, best in {other['best_epoch']},"
    assert words in page
    shares = 100 * run.history.set_index("epoch")["val_accuracy"]
    for epoch in (32, 45, end["best_epoch"]):
        assert f"{shares[epoch]:.1f} % in epoch {epoch}" in page


def test_every_parameter_file_tells_the_score_of_its_reference_run(committed):
    common = table("comparison.csv").query("protocol == 'official' and seed == 0")
    for row in common.itertuples():
        text = (PARAMS / "models" / f"{row.run_id}.yaml").read_text(encoding="utf-8")
        assert f"#   Score     {100 * row.accuracy:.1f} % of PrivateTest, common protocol" in text


def test_every_verdict_that_the_readme_counts_is_the_table_s(committed, page):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    counts = table("verdicts.csv")["verdict"].value_counts()
    said = re.search(
        r"Of (\d+) claims (\d+) (?:is|are) reproduced, (\d+) better, (\d+) worse, and (\d+) cannot",
        text,
    )
    assert said, "the README does not count the verdicts"
    found = [int(counts.sum()), *(int(counts.get(v, 0)) for v in claims.VERDICTS)]
    assert [int(number) for number in said.groups()] == found
    open_ = table("verdicts.csv").query("verdict == @claims.UNDECIDED")
    run, lacks = open_["run_id"].notna(), open_["reason"].str.contains("ImageNet weights")
    parts = int(lacks.sum()), int((run & ~lacks).sum()), int((~run).sum())
    words = (
        "({} need weights that could not be had, {} hang on what the paper does not say, "
        "{} are about work"
    )
    assert words.format(*parts) in " ".join(text.split())
    by_model = table("verdicts.csv").query("verdict == 'worse'")["run_id"].value_counts()
    told = re.search(
        r"\(Six-layer CNN (\d+), Pipeline CNN (\d+), Light CNN (\d+), Three-class DCNN (\d+)\)",
        page,
    )
    models = "six_layer_cnn", "pipeline_cnn", "light_cnn", "dcnn_three_class"
    assert dict(zip(models, map(int, told.groups()), strict=True)) == by_model.to_dict()
    decided = table("verdicts.csv").query("verdict != @claims.UNDECIDED")
    networks = "two three four five six seven eight nine ten eleven twelve".split()
    words = (
        f"{len(decided)} decided ones concern {networks[decided['run_id'].nunique() - 2]} networks"
    )
    assert words in page
    reproduced = decided.query("verdict == 'reproduced'")["run_id"].value_counts()
    words = networks[reproduced["dcnn_three_class"] - 2], networks[reproduced.sum() - 2]
    assert "{} of the {} reproduced ones are korchi's".format(*words) in " ".join(text.split())
    assert f"so the {networks[by_model.sum() - 2]} worse ones (" in page


def test_what_is_told_of_the_time_and_the_versions_is_in_the_records(committed):
    said = {}
    for place in (ROOT / "README.md", reference.FOLDER / "README.md"):
        said[place.parent] = " ".join(place.read_text(encoding="utf-8").split())
    costs, seconds = reference.costs(committed), 0.0
    for seed in {run.metrics["seed"] for run in committed}:
        of_seed = [run for run in committed if run.metrics["seed"] == seed]
        seconds += sum(reference.costs(of_seed).values())
    hours = f"{seconds / 3600:.0f} hours"
    assert f"was trained in {hours}" in said[ROOT]
    assert f"together took {hours}" in said[reference.FOLDER]
    (soonest,) = reference.choose([], committed[0].metrics["data"])
    title = parameters.model(soonest)["title"]
    assert (
        f"({costs[soonest] / 60:.0f} minutes of training for the {title} on two cores)"
        in said[ROOT]
    )
    for run in committed:
        environment = run.metrics["environment"]
        of = {"Python": environment["python"]} | environment["packages"]
        backend = "TensorFlow {tensorflow}" if "tensorflow" in of else "JAX {jax}"
        told = f"Python {{Python}}, {backend}, Keras {{keras}}, scikit-learn {{scikit-learn}}, "
        told += "NumPy {numpy}"
        assert told.format(**of) in said[reference.FOLDER]
        assert run.metrics["data"]["sha256"] in said[reference.FOLDER]


def test_reference_is_small_and_of_real_data(committed):
    weights = pretrained.RUN / pretrained.FILE
    files = {path for path in reference.FOLDER.rglob("*") if path.is_file()} - {weights}
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert weights.stat().st_size <= 2_000_000
    assert not any(run.metrics["data"]["synthetic"] for run in committed)
    kinds = {path.suffix for path in files}
    assert kinds <= {".json", ".csv", ".svg", ".md", ".npz"}
    drawn = [path.read_text() for path in files if path.suffix == ".svg"]
    assert drawn and not any("<image" in text for text in drawn)  # no picture of pixels


@pytest.fixture
def small(tmp_path):
    """A reference of one model: 30 of 60 right."""
    make_run(tmp_path, "basic_cnn", correct=30)
    return tmp_path


@pytest.mark.parametrize(("correct", "inside"), [(30, True), (34, True), (50, False), (10, False)])
def test_a_run_is_inside_the_interval_or_outside(small, tmp_path, correct, inside):
    run = make_run(tmp_path / "again", "basic_cnn", correct=correct)
    found = reference.compare([run], small)
    assert found["inside"].tolist() == [inside]
    assert found["reference"].tolist() == [0.5]


def test_a_network_from_other_weights_is_not_compared(small, tmp_path):
    run = make_run(tmp_path, "basic_cnn")
    run.metrics["params"]["title"] += " (mine.h5)"
    assert reference.compare([run], small)["inside"].tolist() == [None]


def test_a_seed_is_compared_with_its_own_or_else_the_first(small, tmp_path):
    make_run(small, "basic_cnn", correct=45, seed=1)
    runs = [make_run(tmp_path / "again", "basic_cnn", seed=seed) for seed in (0, 1, 2)]
    found = reference.compare(runs, small)
    assert found["reference"].tolist() == [0.5, 0.75, 0.5]
    assert found["inside"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("models", "status", "told"),
    [
        ({"basic_cnn": 32}, 0, ["50.0% (37.7% to 62.3%)  inside"]),
        ({"basic_cnn": 50}, 1, ["50.0% (37.7% to 62.3%)  OUTSIDE"]),
        ({"basic_cnn": 30, "deep_cnn": 30}, 0, ["inside", "the reference has no run of this"]),
        ({"deep_cnn": 30}, 1, ["the reference has no run of this network and protocol"]),
    ],
)
def test_a_check_tells_each_run_and_fails_if_none_or_not_all_are_inside(
    small, tmp_path, monkeypatch, capsys, models, status, told
):
    for name, correct in models.items():
        make_run(tmp_path / "check", name, correct=correct)
    monkeypatch.setattr(reference, "compare", partial(reference.compare, folder=small))
    assert study.show_check(tmp_path / "check", list(models)) == status
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == len(models)
    for line, (name, words) in zip(lines, zip(models, told, strict=True), strict=True):
        assert line.startswith(name) and words in line


def test_the_fastest_network_is_checked_where_none_is_named(small, tmp_path):
    make_run(tmp_path, "deep_cnn", history={"epoch": [1], "loss": [1.0], "seconds": [1.5]})
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    assert reference.choose([], data, small) == ["basic_cnn"]
    assert reference.choose(["deep_cnn"], data, small) == ["deep_cnn"]
    history = {"epoch": [1], "loss": [2.0], "seconds": [1.0]}
    make_run(tmp_path, "basic_cnn", protocol="holdout", history=history)  # 2 s in all
    assert reference.choose([], data, small) == ["deep_cnn"]


def test_a_reference_from_gpus_alone_asks_which_model_to_check(small):
    (path,) = small.glob("runs/*/seed_0/metrics.json")
    record = json.loads(path.read_text())
    record["environment"]["device"] = "NVIDIA H100"
    path.write_text(json.dumps(record))
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    with pytest.raises(ParameterError, match="name a model .*; there are basic_cnn"):
        reference.choose([], data, small)
    assert reference.choose(["basic_cnn"], data, small) == ["basic_cnn"]


def test_costs_count_the_first_seed_with_grid_and_shared_epochs_once(tmp_path):
    shared = {"epoch": [1, 2], "loss": [1.0, 0.5], "seconds": [4.0, 3.0]}
    further = {"epoch": [1, 2], "loss": [1.0, 0.6], "seconds": [4.0, 2.0]}
    runs = [
        make_run(tmp_path, "basic_cnn", history=shared),
        make_run(tmp_path, "basic_cnn", protocol="holdout", history=further),
        make_run(tmp_path, "basic_cnn", seed=1, history=shared),
        make_run(tmp_path, "hog_svm", history={"epoch": []}),
    ]
    runs[3].metrics["timing"]["stages"]["grid"] = 60.0
    runs.append(make_run(tmp_path, "light_cnn", history={"epoch": []}))
    runs[4].metrics["model"]["members"] = {}  # an ensemble's time is that of its members
    runs.append(make_run(tmp_path, "deep_cnn", history=shared))
    runs[5].metrics["environment"]["device"] = "NVIDIA H100"
    assert reference.costs(runs) == {"basic_cnn": 9.0, "hog_svm": 61.0}


def test_other_data_and_unknown_models_are_refused(small, tmp_path):
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    with pytest.raises(ParameterError, match="no run of light_cnn; it has basic_cnn"):
        reference.choose(["light_cnn"], data, small)
    with pytest.raises(ParameterError, match="not the images of the reference"):
        reference.choose([], data | {"pixels_sha256": "c" * 64}, small)
    with pytest.raises(results.ResultError, match="no reference results"):
        reference.read(tmp_path / "nothing")


def test_collected_records_are_those_of_the_study(tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "basic_cnn", protocol="holdout", correct=40)
    make_run(study, "basic_cnn", correct=30)
    kept = reference.collect(study, folder)
    again = reference.read(folder)
    assert [run.metrics for run in again] == [run.metrics for run in kept]
    (folder / "README.md").write_text("what was checked")
    (folder / "readings" / "other").mkdir(parents=True)
    (folder / "readings" / "other" / "metrics.json").write_text("{}")
    reference.collect(study, folder)  # a second time, beside what is not of the study
    assert (folder / "README.md").read_text() == "what was checked"
    assert (folder / "readings" / "other" / "metrics.json").is_file()
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names >= {"comparison.csv", "verdicts.csv", "claims.svg", "curves.svg", "confusion.svg"}
    assert "predictions.npz" not in names


def test_a_study_adds_to_the_reference(tmp_path, capsys):
    first, second, folder = tmp_path / "first", tmp_path / "second", tmp_path / "reference"
    make_run(first, "basic_cnn", protocol="holdout", correct=40)
    make_run(first, "deep_cnn", protocol="holdout", correct=50)
    make_run(first, "hog_svm", correct=30)
    reference.collect(first, folder)
    order = {"measure": "above", "run_id": "deep_cnn", "verdict": "reproduced"}
    old = pd.read_csv(folder / "verdicts.csv")
    assert (old[list(order)] == order).all(axis=1).sum() == 1
    make_run(second, "hog_svm", correct=20)
    make_run(second, "light_cnn", correct=30)
    places = [run.place for run in reference.collect(second, folder)]
    assert places == [
        "runs/basic_cnn/seed_0/holdout", "runs/deep_cnn/seed_0/holdout",
        "runs/hog_svm/seed_0", "runs/light_cnn/seed_0",
    ]  # fmt: skip
    scores = pd.read_csv(folder / "comparison.csv").set_index("run_id")["accuracy"]
    assert scores["basic_cnn"] == pytest.approx(40 / 60)
    assert scores["hog_svm"] == pytest.approx(20 / 60)
    # an order needs the predictions of both: known from when they were there, else undecided
    new = pd.read_csv(folder / "verdicts.csv")
    pd.testing.assert_frame_equal(new, old)
    third = tmp_path / "third"
    make_run(third, "deep_cnn", protocol="holdout", correct=45)
    capsys.readouterr()
    reference.collect(third, folder)
    row = pd.read_csv(folder / "verdicts.csv").query("run_id == 'deep_cnn' and measure == 'above'")
    row = row[row["measured"].notna()].iloc[0]
    assert row["measured"] == pytest.approx(5 / 60) and row["verdict"] == claims.UNDECIDED
    assert "predictions of this run are not kept" in row["reason"]
    assert f"reproduced, now {claims.UNDECIDED}: Deep CNN" in capsys.readouterr().out


def test_what_tells_of_all_models_is_renewed_by_a_study_of_all(tmp_path, capsys):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "hog_svm", correct=30)
    make_run(tmp_path / "seeds", "hog_svm", correct=30)
    make_run(tmp_path / "seeds", "hog_svm", correct=32, seed=1)  # a further seed is not asked for
    reference.collect(tmp_path / "seeds", folder)
    (study / "errors").mkdir()
    for said in ("first", "second"):
        (study / "errors" / "mcnemar.csv").write_text(said)
        reference.collect(study, folder)
    assert (folder / "mcnemar.csv").read_text() == "second"
    make_run(tmp_path / "other", "light_cnn", correct=30)
    (tmp_path / "other" / "errors").mkdir()
    (tmp_path / "other" / "errors" / "mcnemar.csv").write_text("third")
    reference.collect(tmp_path / "other", folder)
    assert (folder / "mcnemar.csv").read_text() == "second"
    assert "kept as it was: mcnemar.csv, as this study lacks HOG + SVM" in capsys.readouterr().out


def test_tables_of_the_network_chapter_stay_those_of_the_committed_network(tmp_path, capsys):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "hog_svm", correct=30)
    (study / "network").mkdir()
    for model in ("fer_net", "fer_net_long"):
        (study / "network" / "more_views.csv").write_text(f"views,run\n1,runs/{model}/seed_0\n")
        reference.collect(study, folder)
    assert "runs/fer_net/seed_0" in (folder / "more_views.csv").read_text()
    assert "left out: more_views.csv, which is not of runs/fer_net/" in capsys.readouterr().out


def test_a_killed_collection_loses_nothing(tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "hog_svm", correct=30)
    reference.collect(study, folder)
    (folder / "README.md").write_text("what was checked")
    folder.rename(tmp_path / ".reference.old")  # as a kill leaves it, between the renamings
    make_run(study, "light_cnn", correct=30)
    assert len(reference.collect(study, folder)) == 2
    assert (folder / "README.md").read_text() == "what was checked"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "study"]


def test_runs_on_other_images_are_not_added(small, tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "basic_cnn")
    reference.collect(study, folder)
    other = make_run(tmp_path / "other", "deep_cnn")
    data = other.metrics["data"] | {"pixels_sha256": "b" * 64}
    (other.folder / "metrics.json").write_text(json.dumps(other.metrics | {"data": data}))
    with pytest.raises(results.ResultError, match="not the images of the runs in"):
        reference.collect(tmp_path / "other", folder)
    assert [run.metrics["run_id"] for run in reference.read(folder)] == ["basic_cnn"]


def test_synthetic_and_cut_runs_are_no_reference(tmp_path):
    make_run(tmp_path / "a", "basic_cnn", synthetic=True)
    with pytest.raises(results.ResultError, match="synthetic"):
        reference.collect(tmp_path / "a", tmp_path / "reference")
    make_run(tmp_path / "b", "basic_cnn", epochs=1)
    with pytest.raises(results.ResultError, match="cut by a profile: Basic CNN"):
        reference.collect(tmp_path / "b", tmp_path / "reference")
    with pytest.raises(results.ResultError, match="nothing: no finished run here"):
        reference.collect(tmp_path / "nothing", tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
