"""FER+'s votes as a yardstick: how well ten people's votes predict FER2013's labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_utils.base import EMOTIONS, DataError
from fer_utils.data import Dataset
from fer_utils.data.votes import VOTE_COLUMNS
from fer_utils.scores import SCORE, accuracy


def predicted_labels(dataset: Dataset, votes: np.ndarray) -> dict[str, np.ndarray]:
    """FER2013's labels int8 (n,) as the votes predict them, by three maps fitted on Training.

    `leading vote` gives each column the label that it has most often; logistic regression and a
    random forest learn from all ten counts. -1 where there are no votes; DataError where Training
    has none.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    known = votes[:, 0] >= 0
    fitted = known & (dataset.usage == "Training")
    if not fitted.any():
        raise DataError("the votes have no image of Training to fit a map on")
    leading = votes.argmax(axis=1)
    counts = np.zeros((len(VOTE_COLUMNS), len(EMOTIONS)), int)
    np.add.at(counts, (leading[fitted], dataset.labels[fitted]), 1)
    found = {"leading vote": counts.argmax(axis=1)[leading]}
    for name, model in (
        ("logistic regression", LogisticRegression(max_iter=1000)),
        ("random forest", RandomForestClassifier(200, min_samples_leaf=10, random_state=0)),
    ):
        found[name] = model.fit(votes[fitted], dataset.labels[fitted]).predict(votes)
    return {name: np.where(known, labels, -1).astype(np.int8) for name, labels in found.items()}


def yardstick(dataset: Dataset, votes: np.ndarray, runs: list) -> pd.DataFrame:
    """Accuracy of the votes' maps and of runs, on the test images that have votes.

    A row for each of PublicTest and PrivateTest that has some: split, predictor, n, accuracy,
    accuracy_low, accuracy_high (95 % Wilson).
    """
    maps = predicted_labels(dataset, votes)
    rows = []
    for split in ("PublicTest", "PrivateTest"):
        part = np.flatnonzero((dataset.usage == split) & (votes[:, 0] >= 0))
        if not len(part):
            continue
        found = {f"votes, {name}": labels[part] for name, labels in maps.items()}
        for run in runs:
            of = run.predictions(split)
            labels = np.full(len(dataset), -1)
            labels[of["index"]] = of["probabilities"].argmax(axis=1)
            found[run.label] = labels[part]
        for name, labels in found.items():
            score = accuracy(labels == dataset.labels[part])
            rows.append({"split": split, "predictor": name} | score)
    return pd.DataFrame(rows, columns=["split", "predictor", *SCORE])
