"""Label noise: wrong labels must be found, and be counted against the votes of people."""

import numpy as np
import pandas as pd
import pytest

from fer_utils.analysis import noise
from fer_utils.data import EMOTIONS
from fer_utils.data.votes import VOTE_COLUMNS
from fer_utils.scores import accuracy_interval


@pytest.fixture(scope="module")
def flipped():
    """700 images that a good model knows, 50 of them with the label of the next class."""
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    truth = np.arange(700) % 7
    logits = 4.0 * np.eye(7)[truth] + rng.normal(0, 0.7, (700, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = rng.choice(700, 50, replace=False)
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + 1) % 7
    return labels, probabilities, truth, np.sort(wrong)


def test_flipped_labels_are_found(flipped):
    labels, probabilities, truth, wrong = flipped
    table = noise.issues(labels, probabilities, EMOTIONS)
    found = table["image"].to_numpy()
    assert np.isin(wrong, found).mean() > 0.95
    assert np.isin(found, wrong).mean() > 0.95
    names = np.array(EMOTIONS)
    assert table["label"].tolist() == names[labels[found]].tolist()
    hit = np.isin(found, wrong)
    assert (table["suggested"] == names[truth[found]])[hit].mean() > 0.95


def test_the_worst_come_first(flipped):
    """A person looks at the first rows only."""
    labels, probabilities, _, _ = flipped
    table = noise.issues(labels, probabilities, EMOTIONS)
    image = table["image"].to_numpy()
    np.testing.assert_array_equal(table["self_confidence"], probabilities[image, labels[image]])
    assert table["self_confidence"].is_monotonic_increasing
    assert (table["label"] != table["suggested"]).all()


def test_right_labels_are_not_suspected(flipped):
    _, probabilities, truth, _ = flipped
    assert len(noise.issues(truth, probabilities, EMOTIONS)) <= 7
    assert noise.issues(truth, np.eye(7)[truth], EMOTIONS).empty


def test_shares_by_hand():
    issues = pd.DataFrame({"label": ["a", "a", "b"], "suggested": ["b", "b", "a"]}, index=range(3))
    table = noise.shares(issues, np.array([0, 0, 0, 0, 1, 1]), ("a", "b", "c"))
    assert table["n"].tolist() == [4, 2, 0, 6]
    assert table["suspected"].tolist() == [2, 1, 0, 3]
    np.testing.assert_allclose(table["share"], [0.5, 0.5, np.nan, 0.5])
    assert table["suggested"].to_dict() == {"a": "b", "b": "a", "c": "", "all": "b"}


def votes(**given):
    return [given.get(name, 0) for name in VOTE_COLUMNS]


VOTES = np.array(
    [
        votes(anger=10),
        votes(happiness=8, neutral=2),
        votes(sadness=6, fear=4),
        votes(neutral=5, sadness=5),  # no majority
        votes(contempt=9, neutral=1),  # none of the seven
        votes(NF=10),
        [-1] * 10,  # no votes
        votes(disgust=10),
    ]
)
ANGER, DISGUST, HAPPINESS, SADNESS, NEUTRAL = map(
    EMOTIONS.index, ("anger", "disgust", "happiness", "sadness", "neutral")
)


def test_against_votes_by_hand():
    labels = np.array([ANGER, NEUTRAL, SADNESS, SADNESS, ANGER, ANGER, ANGER, ANGER])
    predicted = np.array([ANGER, HAPPINESS, NEUTRAL, SADNESS, ANGER, ANGER, ANGER, DISGUST])
    table = noise.against_votes(labels, np.eye(7)[predicted], VOTES, EMOTIONS)
    assert table["images"].tolist() == ["with a majority"] * 2 + ["8 of 10 agree"] * 2
    assert table["truth"].tolist() == ["FER2013", "FER+"] * 2
    assert table["n"].tolist() == [4, 4, 3, 3]
    np.testing.assert_allclose(table["accuracy"], [1 / 4, 3 / 4, 1 / 3, 1])
    low, high = accuracy_interval(3, 4)
    assert table.iloc[1][["accuracy_low", "accuracy_high"]].tolist() == [low, high]


def test_against_votes_with_selected_classes():
    """Labels are then renumbered; images whose majority is another class are left out."""
    classes = ("happiness", "sadness", "anger")
    labels, predicted = np.array([2, 0, 1, 1, 2, 2, 2, 2]), np.array([2, 0, 0, 1, 2, 2, 2, 2])
    table = noise.against_votes(labels, np.eye(3)[predicted], VOTES, classes)
    assert table["n"].tolist() == [3, 3, 2, 2]
    np.testing.assert_allclose(table["accuracy"], [2 / 3, 2 / 3, 1, 1])


def test_against_no_votes_is_nan_not_an_error():
    none = np.full((3, 10), -1)
    table = noise.against_votes(np.zeros(3, int), np.eye(7)[[0, 1, 2]], none, EMOTIONS)
    assert table["n"].tolist() == [0] * 4 and table["accuracy"].isna().all()
