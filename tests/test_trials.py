"""Trials: one change each, PrivateTest untouched, gains on the same images, rows that stay."""

import numpy as np
import pandas as pd
import pytest
from runs import make_run
from test_data import write_csv

from fer_utils import datasets, network_plots, parameters, results, trials
from fer_utils.predecessors import settle

MORE = """
model: fer_net
training: {epochs: 1, precision: float32, train_limit: 100}
trials:
  unchanged: {}
  thin: {options: {filters: [4, 4]}}
"""


def test_the_trials_of_the_study_change_what_they_say(tmp_path):
    made = {name: settle(params, tmp_path) for name, params in trials.read().items()}
    first, *others = made.values()
    assert {params["protocol"] for params in made.values()} == {"publictest"}
    written = [trials.change(first, params) for params in others]
    assert all(written) and len(set(written)) == len(written)
    assert trials.change(first, made["cutmix"]) == "mixing: {kind: cutmix, alpha: 1.0, share: 0.5}"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("thin: {options: {filters: [4, 4]}}", "same: {}", "the first trial, and it alone"),
        ("filters: [4, 4]", "filter: 4", "trial thin: .*no option"),
        ("options: {filters: [4, 4]}", "training: {epoch: 3}", "thin: unknown .*training.epoch`"),
        ("options: {filters: [4, 4]}", "training: {protocol: paper}", "unknown .*protocol"),
        ("model: fer_net", "model: hog_svm", "`model` is hog_svm, which is no network"),
        ("trials:", "trial:", "unknown parameter `trial`"),
    ],
)
def test_wrong_trials_are_refused_with_their_name(tmp_path, before, after, message):
    path = tmp_path / "trials.yaml"
    path.write_text(MORE.replace(before, after))
    with pytest.raises(parameters.ParameterError, match=message):
        trials.read(path)


def test_trials_are_trained_once_and_never_see_privatetest(tmp_path, monkeypatch):
    path = tmp_path / "trials.yaml"
    path.write_text(MORE)
    read = trials.read
    monkeypatch.setattr(trials, "read", lambda: read(path))
    dataset = datasets.load("synthetic:n=300,seed=1")
    made, bases = trials.run(["thin"], dataset, tmp_path / "study")
    run = results.read_run(tmp_path / "study/runs/thin/seed_0/publictest")
    scored = {"train", "PublicTest", "PublicTest_views"}
    assert {name.removesuffix("_not_in_training") for name in run.metrics["scores"]} == scored
    with np.load(run.folder / "predictions.npz") as arrays:
        assert {name.split("/")[0] for name in arrays} == scored
    assert made["trial"].tolist() == ["thin"] and made["gain"].isna().all()
    assert made["change"].tolist() == ["filters: [4, 4]"]
    path.write_text(f"{MORE}  later: {{training: {{start_from: basic_cnn}}}}\n")
    written = (tmp_path / "study/runs/thin/seed_0/publictest/metrics.json").stat().st_mtime_ns
    trials.run(["thin"], dataset, tmp_path / "study")
    assert not bases  # the unchanged recipe was not run
    with pytest.raises(parameters.ParameterError, match="later: training.start_from is basic_cnn"):
        trials.run(["later"], dataset, tmp_path / "study")
    other = datasets.load("synthetic:n=300,seed=2")  # a row of other images is no row of these
    assert trials.run(["thin"], other, tmp_path / "study", seed=1)[0]["seed"].tolist() == [1]
    again = (tmp_path / "study/runs/thin/seed_0/publictest/metrics.json").stat().st_mtime_ns
    assert again == written


@pytest.fixture
def runs(tmp_path):
    names = {"protocol": "publictest"}
    made = [
        make_run(tmp_path, "fer_net", correct=30, **names),
        make_run(tmp_path, "fer_net", correct=40, seed=1, **names),
    ]
    for run, name in zip(made, ("unchanged", "wide"), strict=True):
        run.metrics["run_id"], run.metrics["seed"] = name, 0
    return made


@pytest.fixture
def table(runs):
    return trials.table(runs, unchanged(runs), trials.right_about(runs[:1]))


def test_gain_of_a_trial_that_goes_on_is_over_where_it_starts(tmp_path, monkeypatch):
    path, dataset = tmp_path / "trials.yaml", datasets.load("synthetic:n=300,seed=1")
    path.write_text(MORE)
    read = trials.read
    monkeypatch.setattr(trials, "read", lambda: read(path))
    trials.run(["unchanged", "thin"], dataset, tmp_path / "study")
    start = tmp_path / "study/runs/thin/seed_0/publictest"
    path.write_text(
        f"{MORE}  again: {{options: {{filters: [4, 4]}}, training: {{start_from: {start}}}}}\n"
    )
    made, bases = trials.run(["again"], dataset, tmp_path / "study")
    rows = made.set_index("trial")
    unchanged, thin, again = rows["accuracy"][["unchanged", "thin", "again"]]
    assert rows["gain"]["again"] == pytest.approx(again - thin)
    assert rows["gain"]["thin"] == pytest.approx(thin - unchanged) and unchanged != thin
    assert "start_from: thin/seed_0" in rows["change"]["again"] and len(bases) == 1


def unchanged(runs, **training):
    params = runs[0].metrics["params"] | {"id": "unchanged"}
    runs[0].metrics["params"] = params  # which make_run calls by its model
    return parameters.merge(params, {"training": training})


def test_gain_is_over_the_unchanged_recipe_on_the_same_images(table, runs):
    for run in runs:  # as recorded before a network could start from another
        del run.metrics["params"]["training"]["start_from"]
    pd.testing.assert_frame_equal(
        trials.table(runs, unchanged(runs), trials.right_about(runs[:1])), table
    )
    assert table["accuracy"].tolist() == [30 / 60, 40 / 60]
    assert pd.isna(table["gain"][0]) and table["gain"][1] == pytest.approx(10 / 60)
    assert table["gain_low"][1] < table["gain"][1] < table["gain_high"][1]


def test_changes_are_drawn_by_what_they_are(runs):
    made = trials.table(runs, trials.read()["unchanged"], trials.right_about(runs[:1]))
    made["gain"] = [None, 0.01]
    made[["gain_low", "gain_high"]] = [[None, None], [-0.019, 0.022]]
    (axis,) = network_plots.gains(made).axes
    assert axis.get_yticklabels()[0].get_text() == made["change"][1]
    ticks = [label.get_text() for label in axis.get_xticklabels()]
    assert len(set(ticks)) == len(ticks) and {"-1", "+0", "+2"} <= {*ticks}


def test_recorded_rows_stay_until_their_trial_is_run_again(table, runs, tmp_path):
    path, bases = tmp_path / "trials.csv", trials.right_about(runs[:1])
    trials.record(table, bases, path)
    trials.record(table[1:].assign(minutes=7.0), {}, path)
    kept = pd.read_csv(path)
    assert kept["trial"].tolist() == ["unchanged", "wide"] and kept["minutes"].tolist()[1] == 7.0
    (right,) = trials.recorded(path).values()
    assert right.equals(*bases.values())


def test_a_trial_on_another_day_has_its_gain_from_the_record(table, runs, tmp_path):
    path = tmp_path / "trials.csv"
    trials.record(table[:1], trials.right_about(runs[:1]), path)
    later = trials.table(runs[1:], unchanged(runs), trials.recorded(path))
    assert later.iloc[0].to_dict() == table.iloc[1].to_dict()
    longer = unchanged(runs, epochs=99)  # the recipe has changed since
    assert pd.isna(trials.table(runs[1:], longer, trials.recorded(path))["gain"][0])
    runs[1].metrics["data"]["content_sha256"] = "other images"
    assert pd.isna(trials.table(runs[1:], unchanged(runs), trials.recorded(path))["gain"][0])
    for damaged in (b"", b"PK no archive"):
        path.with_suffix(".npz").write_bytes(damaged)
        with pytest.raises(results.ResultError, match="trials.npz: cannot be read"):
            trials.record(table, {}, path)


def test_command_line_names_what_is_wrong(capsys):
    assert trials.main(["--data", "synthetic:n=200", "--only", "nonsense"]) == 2
    assert "no trial 'nonsense'; there are unchanged" in capsys.readouterr().err


def test_rows_are_recorded_of_the_whole_of_fer2013_only(table, capsys, monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(trials, "run", lambda *_: (table, {}))
    monkeypatch.setattr(trials, "record", lambda made, *_: kept.append(made))
    assert trials.main(["--data", "synthetic:n=200", "--record"]) == 2
    assert "is no reference: synthetic faces" in capsys.readouterr().err
    path = write_csv(tmp_path / "fer2013.csv", datasets.load("synthetic:n=100,seed=1"))
    assert trials.main(["--data", str(path), "--record"]) == 2
    assert "is no reference: not the whole of FER2013" in capsys.readouterr().err and not kept
    monkeypatch.setattr(trials.claims, "not_fer2013", lambda totals: "")
    assert trials.main(["--data", str(path), "--record"]) == 0
    assert len(kept) == 1 and kept[0] is table


def test_a_training_that_diverges_is_one_line(capsys, monkeypatch, tmp_path):
    def diverges(*_, **__):
        raise FloatingPointError("thin: the loss became nan in epoch 1")

    monkeypatch.setattr(trials.training, "run", diverges)
    words = ["--data", "synthetic:n=200", "--only", "squeeze", "--results", str(tmp_path)]
    assert trials.main(words) == 1
    assert capsys.readouterr().err == "error: thin: the loss became nan in epoch 1\n"
