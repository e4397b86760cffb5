"""How far a network's confidence can be trusted: calibration, temperature, rejection."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_utils.scores import SCORE, accuracy, calibration_error, nll

COLDEST, HOTTEST = 0.05, 20.0  # where the temperature is looked for
# A softmax in float32 gives 0 only below this, so a 0 hides a logit at most this high.
SMALLEST = float(np.finfo(np.float32).tiny)


def temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature with the lowest negative log likelihood (Guo et al. 2017), 0.05 to 20.

    Of validation data: `labels` (n,) and `probabilities` (n, classes), whose logarithms are the
    logits up to a constant. Above 1 the network was too confident. A network without an error has
    no best temperature and gets the lowest.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = _logits(probabilities)
    of_label = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        cold = np.exp(-log_temperature)
        return float((logsumexp(logits * cold, axis=1) - of_label * cold).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities float64 (n, classes) after dividing the logits by a temperature."""
    from scipy.special import softmax

    return softmax(_logits(probabilities) / temperature, axis=1)


def calibration(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> pd.DataFrame:
    """One row per bin of confidence that has images: the reliability diagram (Guo et al. 2017).

    The bins are equally wide and those of `scores.calibration_error`. Columns: low and high
    (edges), n, confidence (mean), accuracy, accuracy_low, accuracy_high (95 % Wilson).
    """
    confidence, correct = _confidence(labels, probabilities)
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    rows = []
    for place in np.unique(which):
        of = which == place
        n, *score = accuracy(correct[of]).values()
        rows.append((place / bins, (place + 1) / bins, n, confidence[of].mean(), *score))
    return pd.DataFrame(rows, columns=["low", "high", "n", "confidence", *SCORE[1:]])


def coverage(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Accuracy when the least certain images are rejected (El-Yaniv and Wiener 2010).

    At most 100 rows, from about 1 % of the images to all. Columns: coverage (share kept),
    threshold (what is kept has at least this confidence), accuracy (of what is kept). Images of
    equal confidence are kept or rejected together.
    """
    confidence, correct = _confidence(labels, probabilities)
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    wanted = np.ceil(np.arange(1, 101) * len(falling) / 100).astype(int)
    kept = np.unique(np.searchsorted(-falling, -falling[wanted - 1], side="right"))
    return pd.DataFrame(
        {
            "coverage": kept / len(falling),
            "threshold": falling[kept - 1],
            "accuracy": np.cumsum(correct[order])[kept - 1] / kept,
        }
    )


def before_after(
    validation: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> pd.DataFrame:
    """Calibration of the test split before and after temperature scaling.

    Each split is its labels (n,) and probabilities (n, classes); the temperature is fitted on
    validation alone. Rows before and after; columns temperature, ece (0 to 1), nll (nats). The
    accuracy stays: scaling keeps the order of the classes. Where more than 5 % of the images have a
    class of probability 0 there are no logits to scale, as of a vote among neighbours, and the row
    after is NaN.
    """
    no_softmax = (validation[1] == 0).any(axis=1).mean() > 0.05
    temperatures = {"before": 1.0} | ({} if no_softmax else {"after": temperature(*validation)})
    rows = {}
    for name, fitted in temperatures.items():
        after = scaled(test[1], fitted)
        rows[name] = fitted, calibration_error(*_confidence(test[0], after)), nll(test[0], after)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["temperature", "ece", "nll"])
    return table.reindex(["before", "after"])


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), SMALLEST))


def _confidence(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence float64 (n,) of each prediction and whether it is right, bool (n,)."""
    probabilities = np.asarray(probabilities, np.float64)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
