"""What the runs of one seed measure for a claim: a value, its 95 % interval, what was counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fer_utils.scores import accuracy_interval, f1_scores, redrawn

if TYPE_CHECKING:
    from fer_utils.runs.papers import Claim
    from fer_utils.runs.store import Run

RESAMPLES = 1000


class Found(NamedTuple):
    """A value with its 95 % interval, which is the value itself where no images are counted."""

    value: float
    low: float
    high: float
    what: str
    holds: bool | None = None  # of a statement


class Measure(NamedTuple):
    of: Callable[..., Found]  # (claim, run) or (claim, run, other)
    unit: str  # printed: that of the claimed value; points, share of epochs, epoch
    needs: tuple[str, ...] = ()  # keys of the claim
    curves: bool = False  # needs a training by epochs


def _score(claim: Claim, run: Run) -> dict[str, Any]:
    return run.metrics["scores"][run.metrics["protocol"][claim.split]]


def _table(claim: Claim, run: Run) -> np.ndarray:
    return np.array(_score(claim, run)["confusion"])


def _places(run: Run, emotions: Any) -> list[int]:
    return [run.metrics["protocol"]["classes"].index(name) for name in emotions]


def _where(claim: Claim, run: Run) -> str:
    protocol = run.metrics["protocol"]
    return f"{protocol[claim.split]}, {protocol['name']} protocol"


# shares of images, with Wilson's interval


def _share(claim: Claim, run: Run, count: int, n: int, what: str) -> Found:
    low, high = accuracy_interval(int(count), int(n)) if n else (0.0, 1.0)
    return Found(count / max(n, 1), low, high, f"{count:,} of {n:,} {what}, {_where(claim, run)}")


def _accuracy(claim: Claim, run: Run) -> Found:
    table = _table(claim, run)
    return _share(claim, run, np.trace(table), table.sum(), "images right")


def _recall(claim: Claim, run: Run) -> Found:
    """Share of the images of a class that are called so, or `predicted`."""
    table, called = _table(claim, run), claim.predicted or claim.emotion
    row, column = _places(run, (claim.emotion, called))
    what = f"images of {claim.emotion} called {called}"
    return _share(claim, run, table[row, column], table[row].sum(), what)


def _precision(claim: Claim, run: Run) -> Found:
    table, (k,) = _table(claim, run), _places(run, [claim.emotion])
    what = f"images called {claim.emotion} that are"
    return _share(claim, run, table[k, k], table[:, k].sum(), what)


# statistics of confusion matrices (draws, classes, classes), with an interval by bootstrap


def _right(tables: np.ndarray) -> np.ndarray:
    return np.diagonal(tables, axis1=-2, axis2=-1)


def _recalls(tables: np.ndarray) -> np.ndarray:
    return _right(tables) / np.maximum(tables.sum(-1), 1)


def _precisions(tables: np.ndarray) -> np.ndarray:
    return _right(tables) / np.maximum(tables.sum(-2), 1)


def _weighted(scores: np.ndarray, tables: np.ndarray) -> np.ndarray:
    support = tables.sum(-1)
    return (scores * support).sum(-1) / support.sum(-1)


def _interval(statistic: Callable[[np.ndarray], np.ndarray], table: np.ndarray) -> list[float]:
    low, high = np.percentile(statistic(redrawn(table, RESAMPLES)), [2.5, 97.5])
    return [float(statistic(table[None])[0]), float(low), float(high)]


def _average(statistic: Callable[[np.ndarray], np.ndarray]) -> Callable[[Claim, Run], Found]:
    def measure(claim: Claim, run: Run) -> Found:
        table = _table(claim, run)
        what = f"{table.sum():,} images of {_where(claim, run)}; interval by bootstrap"
        return Found(*_interval(statistic, table), what)

    return measure


def _f1(claim: Claim, run: Run) -> Found:
    (k,) = _places(run, [claim.emotion])
    return _average(lambda tables: f1_scores(tables)[:, k])(claim, run)


def _margin(
    margin: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Callable[[Claim, Run], Found]:
    """A statement about the named classes, which holds if its margin is not negative.

    `margin` gets confusion matrices and which classes are named, as booleans.
    """

    def measure(claim: Claim, run: Run) -> Found:
        table, names = _table(claim, run), run.metrics["protocol"]["classes"]
        named = np.isin(names, claim.emotions)
        value, low, high = _interval(lambda tables: margin(tables, named), table)
        recalls = _recalls(table)
        order = np.argsort(-recalls, kind="stable")
        shares = ", ".join(f"{names[k]} {recalls[k]:.0%}" for k in order)
        what = f"recall of {shares}; {_where(claim, run)}"
        return Found(value, low, high, what, value >= 0)

    return measure


def _wrong(tables: np.ndarray) -> np.ndarray:
    """Share of all images that are of a class and wrong."""
    return (tables.sum(-1) - _right(tables)) / tables.sum((-2, -1))[..., None]


def _pair_margin(claim: Claim, run: Run, above: Callable[..., np.ndarray]) -> Found:
    """How often named pairs of classes are confused, above what `above` makes of the other pairs.

    The share of the images of two classes that are taken for the other of them.
    """
    names = run.metrics["protocol"]["classes"]
    first, second = np.triu_indices(len(names), 1)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    named = np.isin(range(len(pairs)), [pairs.index(tuple(sorted(_places(run, pair))))
                                        for pair in claim.pairs])  # fmt: skip

    def shares(tables: np.ndarray) -> np.ndarray:
        confused = (tables + np.swapaxes(tables, -1, -2))[..., first, second]
        images = tables.sum(-1)
        return confused / np.maximum(images[..., first] + images[..., second], 1)

    def margin(tables: np.ndarray) -> np.ndarray:
        found = shares(tables)
        return found[..., named].min(-1) - above(found, named)

    table = _table(claim, run)
    found = shares(table)
    shown = ", ".join(f"{names[a]}-{names[b]} {found[i]:.1%}"
                      for i, (a, b) in enumerate(pairs) if named[i])  # fmt: skip
    value, low, high = _interval(margin, table)
    what = f"{shown}; mean of all pairs {found.mean():.1%}; {_where(claim, run)}"
    return Found(value, low, high, what, value >= 0)


def _taken_for(claim: Claim, run: Run) -> Found:
    """Is a class taken more often for each of the named classes than for any other?"""
    table, names = _table(claim, run), run.metrics["protocol"]["classes"]
    (k,), named = _places(run, [claim.emotion]), np.isin(names, claim.emotions)
    others = ~named & (np.arange(len(names)) != k)

    def margin(tables: np.ndarray) -> np.ndarray:
        row = tables[..., k, :] / np.maximum(tables[..., k, :].sum(-1, keepdims=True), 1)
        return row[..., named].min(-1) - row[..., others].max(-1)

    value, low, high = _interval(margin, table)
    shown = ", ".join(f"{name} {n:,}" for name, n in zip(names, table[k], strict=True))
    what = f"images of {claim.emotion} are called {shown}; {_where(claim, run)}"
    return Found(value, low, high, what, value >= 0)


def _balanced(claim: Claim, run: Run) -> Found:
    """Do the intervals of macro precision, recall and F1 have a value in common?"""
    table, of = _table(claim, run), (_precisions, _recalls, f1_scores)
    found = [_interval(lambda tables, f=f: f(tables).mean(-1), table) for f in of]
    common = min(high for _, _, high in found) - max(low for _, low, _ in found)
    names = ("precision", "recall", "F1")
    shown = ", ".join(f"{n} {v:.3f} ({a:.3f} to {b:.3f})"
                      for n, (v, a, b) in zip(names, found, strict=True))  # fmt: skip
    return Found(common, common, common, f"macro {shown}; {_where(claim, run)}", common >= 0)


# curves by epoch


def _exact(value: float, what: str, holds: bool | None = None) -> Found:
    return Found(float(value), float(value), float(value), what, holds)


def _training(column: str) -> Callable[[Claim, Run], Found]:
    """What Keras prints for the last epoch; the saved network's value is in the text."""

    def measure(claim: Claim, run: Run) -> Found:
        last, part = run.history.iloc[-1], run.metrics["protocol"]["train"]
        saved = run.metrics["scores"][part]["nll" if column == "loss" else column]
        what = (
            f"printed for epoch {int(last['epoch'])}; the saved network has {saved:.3f} on {part}"
        )
        return _exact(last[column], what)

    return measure


def _loss(claim: Claim, run: Run) -> Found:
    score = _score(claim, run)
    return _exact(score["nll"], f"mean of {score['n']:,} images of {_where(claim, run)}")


def _gap(claim: Claim, run: Run, column: str = "accuracy") -> Found:
    last = run.history.iloc[-1]
    told, selected = last[column], last[f"val_{column}"]
    what = f"{column} {told:.3f} and {selected:.3f} in validation in epoch {int(last['epoch'])}"
    return _exact(told - selected if column == "accuracy" else selected - told, what)


def _smaller_gap(column: str) -> Callable[[Claim, Run, Run], Found]:
    def measure(claim: Claim, run: Run, other: Run) -> Found:
        own, its = _gap(claim, run, column), _gap(claim, other, column)
        difference = its.value - own.value
        what = f"{run.metrics['run_id']} {own.what}; {other.metrics['run_id']} {its.what}"
        return _exact(difference, what, difference >= 0)

    return measure


def _epochs(claim: Claim, run: Run) -> Found:
    model = run.metrics["model"]
    what = f"training ended after epoch {model['epochs_run']}, best epoch {model['best_epoch']}"
    return _exact(model["epochs_run"], what)


def _best_epoch(claim: Claim, run: Run) -> Found:
    best = run.history.loc[run.history["val_accuracy"].idxmax()]
    return _exact(best["epoch"], f"validation accuracy is highest there, of {len(run.history)}")


def _reaches(claim: Claim, run: Run) -> Found:
    best = run.history.loc[run.history["val_accuracy"].idxmax()]
    what = f"highest validation accuracy, in epoch {int(best['epoch'])}"
    return _exact(best["val_accuracy"], what, bool(best["val_accuracy"] > claim.printed[0]))


def _every_epoch(
    true: Callable[[Any], Any], least: float = 1.0, steps: int = 0
) -> Callable[[Claim, Run], Found]:
    """Share of the epochs (or steps between them) in which something is true, `least` to hold."""

    def measure(claim: Claim, run: Run) -> Found:
        found = np.asarray(true(run.history))[..., steps:]
        # of two curves the one that does it less often
        share = float(found.sum(-1).min() / max(found.shape[-1], 1))
        counts = " and ".join(str(int(n)) for n in np.atleast_1d(found.sum(-1)))
        return _exact(share, f"in {counts} of {found.shape[-1]} epochs", share >= least)

    return measure


def _tracks(claim: Claim, run: Run) -> Found:
    """Is training accuracy in the last epoch inside validation accuracy's 95 % interval?"""
    last, n = run.history.iloc[-1], run.validation["n"]
    low, high = accuracy_interval(round(last["val_accuracy"] * n), n)
    trained = last["accuracy"]
    what = (
        f"{trained:.3f} in training, {last['val_accuracy']:.3f} ({low:.3f} to {high:.3f}) in "
        f"validation in epoch {int(last['epoch'])}"
    )
    gap = last["val_accuracy"] - trained
    return Found(gap, low - trained, high - trained, what, bool(low <= trained <= high))


# two runs


def _above(claim: Claim, run: Run, other: Run) -> Found:
    pair = [(_where(claim, each), _score(claim, each)) for each in (run, other)]
    (where, first), (_, second) = pair
    if (where, first["n"]) != (pair[1][0], second["n"]):
        raise ValueError(f"{run.label} and {other.label} were not tested on the same images")
    difference = first["accuracy"] - second["accuracy"]
    error = 1.96 * sum(s["accuracy"] * (1 - s["accuracy"]) / s["n"] for _, s in pair) ** 0.5
    what = (
        f"{first['accuracy']:.3f} and {second['accuracy']:.3f} of {first['n']:,} images of {where}"
    )
    return Found(difference, difference - error, difference + error, what, difference >= 0)


def _more_even(claim: Claim, run: Run, other: Run) -> Found:
    own, its = (float(_recalls(_table(claim, each)).std()) for each in (run, other))
    what = f"deviation of the classes' recalls {own:.3f} and {its:.3f}, {_where(claim, run)}"
    return _exact(its - own, what, its >= own)


def _later(claim: Claim, run: Run, other: Run) -> Found:
    own, its = (each.metrics["model"]["best_epoch"] for each in (run, other))
    return _exact(own - its, f"best epochs {own} and {its}", own > its)


VALUES = {
    "accuracy": Measure(_accuracy, "printed"),
    "recall": Measure(_recall, "printed", ("emotion",)),
    "confused": Measure(_recall, "printed", ("emotion", "predicted")),
    "precision": Measure(_precision, "printed", ("emotion",)),
    "f1": Measure(_f1, "printed", ("emotion",)),
    "macro_f1": Measure(_average(lambda t: f1_scores(t).mean(-1)), "printed"),
    "macro_precision": Measure(_average(lambda t: _precisions(t).mean(-1)), "printed"),
    "macro_recall": Measure(_average(lambda t: _recalls(t).mean(-1)), "printed"),
    "weighted_f1": Measure(_average(lambda t: _weighted(f1_scores(t), t)), "printed"),
    "weighted_precision": Measure(_average(lambda t: _weighted(_precisions(t), t)), "printed"),
    "training_accuracy": Measure(_training("accuracy"), "printed", (), True),
    "training_loss": Measure(_training("loss"), "printed", (), True),
    "loss": Measure(_loss, "printed"),
    "gap": Measure(_gap, "printed", (), True),
    "epochs": Measure(_epochs, "epoch", (), True),
    "best_epoch": Measure(_best_epoch, "epoch", (), True),
}
STATEMENTS = {
    "reaches": Measure(_reaches, "printed", ("claimed",), True),
    "tracks": Measure(_tracks, "points", (), True),
    "validation_above_training": Measure(
        _every_epoch(lambda h: h["val_accuracy"] > h["accuracy"]), "share of epochs", (), True
    ),
    "validation_loss_below_training": Measure(
        _every_epoch(lambda h: h["val_loss"] < h["loss"]), "share of epochs", (), True
    ),
    "losses_fall": Measure(
        _every_epoch(lambda h: (h[["loss", "val_loss"]].diff() < 0).T, 0.5, 1),
        "share of epochs", (), True,
    ),
    "highest": Measure(
        _margin(lambda t, k: _recalls(t)[:, k].min(-1) - _recalls(t)[:, ~k].max(-1)),
        "points", ("emotions",),
    ),
    "above_average": Measure(
        _margin(lambda t, k: _recalls(t)[:, k].min(-1) - _recalls(t).mean(-1)),
        "points", ("emotions",),
    ),
    "below_average": Measure(
        _margin(lambda t, k: _recalls(t).mean(-1) - _recalls(t)[:, k].max(-1)),
        "points", ("emotions",),
    ),
    "most_wrong": Measure(
        _margin(lambda t, k: _wrong(t)[:, k].min(-1) - _wrong(t)[:, ~k].max(-1)),
        "points", ("emotions",),
    ),
    "most_confused": Measure(
        lambda c, r: _pair_margin(c, r, lambda f, k: f[..., ~k].max(-1)), "points", ("pairs",)
    ),
    "often_confused": Measure(
        lambda c, r: _pair_margin(c, r, lambda f, k: f.mean(-1)), "points", ("pairs",)
    ),
    "taken_for": Measure(_taken_for, "points", ("emotion", "emotions")),
    "balanced": Measure(_balanced, "points"),
    "above": Measure(_above, "points", ("other",)),
    "smaller_gap": Measure(_smaller_gap("accuracy"), "points", ("other",), True),
    "smaller_loss_gap": Measure(_smaller_gap("loss"), "difference", ("other",), True),
    "more_even": Measure(_more_even, "points", ("other",)),
    "later": Measure(_later, "epochs later", ("other",), True),
}  # fmt: skip
MEASURES = VALUES | STATEMENTS
