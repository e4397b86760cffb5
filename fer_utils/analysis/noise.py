"""Wrong labels: which ones confident learning suspects, and what FER+'s taggers say."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from fer_utils.data import EMOTIONS
from fer_utils.data import votes as vote_counts
from fer_utils.scores import SCORE, accuracy

AGREEING = 8  # of FER+'s ten taggers, for an image to count as clear


def issues(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Suspected label errors by confident learning (Northcutt et al. 2021), the worst first.

    `labels` (n,) and `probabilities` (n, classes) of a model that did not train on these images:
    one that did has learnt their errors. Needs the package cleanlab. Columns: image (position),
    label, suggested (what the model says instead), self_confidence (its probability of the label).
    """
    with warnings.catch_warnings():  # on progress bars, which nobody asked for
        warnings.simplefilter("ignore")
        from cleanlab.filter import find_label_issues

    labels = np.asarray(labels, int)
    probabilities = np.asarray(probabilities, np.float64)
    # cleanlab's own ranking by confidence: the probability of the label, ascending
    image = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    names = np.array(classes)
    return pd.DataFrame(
        {
            "image": image,
            "label": names[labels[image]],
            "suggested": names[probabilities[image].argmax(axis=1)],
            "self_confidence": probabilities[image, labels[image]],
        }
    )


def shares(issues: pd.DataFrame, labels: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """How many labels of each class are suspected: a row for each class and one for all.

    Columns: n (images of that label), suspected, share (0 to 1, NaN without images), suggested (the
    class suggested most often, "" where none is).
    """
    counts = dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))
    rows = []
    for name, n in [*counts.items(), ("all", len(labels))]:
        found = (
            issues["suggested"] if name == "all" else issues.query("label == @name")["suggested"]
        )
        share = len(found) / n if n else float("nan")
        rows.append((n, len(found), share, found.value_counts().index[0] if len(found) else ""))
    columns = ["n", "suspected", "share", "suggested"]
    return pd.DataFrame(rows, columns=columns, index=[*counts, "all"])


def against_votes(
    labels: np.ndarray, probabilities: np.ndarray, votes: np.ndarray, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Accuracy by FER2013's labels and by FER+'s on the same images (Barsoum et al. 2016).

    `labels` (n,), `probabilities` (n, classes), `votes` (n, 10) of `votes.join`. Two sets of
    images: those whose most-voted column is one of the classes, and of these the clear ones, on
    which 8 of 10 taggers agree. Columns: images, truth (FER2013 or FER+), n, accuracy,
    accuracy_low, accuracy_high (95 % Wilson; NaN without images).
    """
    # one more, for the -1 of an image without a majority
    own = np.array([classes.index(e) if e in classes else -1 for e in EMOTIONS] + [-1])
    majority = own[vote_counts.majority(votes)]
    predicted, voted = probabilities.argmax(axis=1), majority >= 0
    clear = voted & (votes.max(axis=1) >= AGREEING)
    agreeing = f"{AGREEING} of {vote_counts.TAGGERS} agree"
    rows = [
        {"images": images, "truth": truth} | accuracy((predicted == right)[chosen])
        for images, chosen in (("with a majority", voted), (agreeing, clear))
        for truth, right in (("FER2013", labels), ("FER+", majority))
    ]
    return pd.DataFrame(rows, columns=["images", "truth", *SCORE])
