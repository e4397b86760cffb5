"""The FER+ votes: ten crowd workers' labels for every FER2013 image (Barsoum et al. 2016)."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_utils.datasets import EMOTIONS, DataError, Dataset

if TYPE_CHECKING:
    import pandas as pd

VOTE_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger",
    "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
TAGGERS = 10
FACES = 8  # the first eight columns are emotions, contempt being the eighth; NF is "not a face"
# FER2013's label for a vote column; -1 for the three that FER2013 does not know.
LABELS = np.array([EMOTIONS.index(c) if c in EMOTIONS else -1 for c in VOTE_COLUMNS], np.int8)
ROW_NAME = re.compile(r"fer(\d{7,9})\.png")


def join(dataset: Dataset, path: str | os.PathLike) -> np.ndarray:
    """Votes int16 (n, 10) in the order of VOTE_COLUMNS, -1 in every column where there are none.

    `path` is FER+'s own fer2013new.csv, joined by row number to a dataset read from fer2013.csv, or
    a file with columns image, row, usage and emotion before the votes, joined by image name and
    emotion (FER2013's file names are not unique), or by row to a CSV. FER+'s "Image name" is not
    used: it does not count the images that it leaves out, so it is not the row's number. DataError
    where the file is not one of these, or disagrees with the dataset about an image.
    """
    name = Path(path).name
    table = _read(path, name)
    votes = _whole(table, VOTE_COLUMNS, TAGGERS, name).astype(np.int16)
    numbered = [ROW_NAME.fullmatch(image) for image in dataset.names.tolist()]
    rows = np.array([int(match[1]) if match else -1 for match in numbered], int)
    if "Usage" in table:
        at = _own_rows(dataset, table, rows, name)
    elif (rows >= 0).all():
        at = _by_row(dataset, table, rows, name)
    else:
        at = _by_image(dataset, table, name)
    return np.where((at >= 0)[:, None], votes[at], np.int16(-1))


def majority(votes: np.ndarray) -> np.ndarray:
    """FER2013 label int8 (n,) of the most-voted column.

    -1 where there are no votes, where two columns tie, or where contempt, unknown or NF leads.
    """
    top = votes.max(axis=1)
    tied = (votes == top[:, None]).sum(axis=1) > 1
    return np.where(tied | (top <= 0), np.int8(-1), LABELS[votes.argmax(axis=1)])


def agreement(dataset_labels: np.ndarray, votes: np.ndarray) -> dict:
    """How often FER+'s leading emotion is FER2013's label: {"n", "agree", "share"}.

    `n` counts the images with votes that the taggers accepted as faces, fewer than half of them
    having voted NF. The leading emotion is the most-voted of the eight (with contempt, without
    unknown and NF), the first in the order of VOTE_COLUMNS where some tie; contempt agrees with no
    label. On the 31,826 images with published votes this gives 19,921 of 31,685, 62.9 %. Labels
    are FER2013's 0 to 6, not those of selected classes.
    """
    accepted = (votes[:, 0] >= 0) & (votes[:, -1] < TAGGERS / 2)
    leading = LABELS[votes[:, :FACES].argmax(axis=1)]
    n = int(accepted.sum())
    agree = int((leading == dataset_labels)[accepted].sum())
    return {"n": n, "agree": agree, "share": agree / n if n else float("nan")}


def predicted_labels(dataset: Dataset, votes: np.ndarray) -> dict[str, np.ndarray]:
    """FER2013's labels int8 (n,) as the votes predict them, by three maps fitted on Training.

    `leading vote` gives each column the label that it has most often; the others learn from all ten
    counts, scikit-learn's logistic regression and a random forest. -1 where there are no
    votes. Labels are those of a dataset with all seven classes. DataError where Training has none.
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


def yardstick(dataset: Dataset, votes: np.ndarray, runs: list) -> "pd.DataFrame":
    """Accuracy of the votes' maps and of runs, on the held-out images that have votes.

    A row for each of PublicTest and PrivateTest that has some: split, predictor, n, accuracy,
    accuracy_low, accuracy_high (95 % Wilson).
    """
    import pandas as pd

    from fer_utils.evaluation import accuracy_interval

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
            right = int((labels == dataset.labels[part]).sum())
            score = [right / len(part), *accuracy_interval(right, len(part))]
            rows.append([split, name, len(part), *score])
    columns = ["split", "predictor", "n", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=columns)


def _read(path, name: str):
    import pandas as pd

    try:
        with open(path, "rb") as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give fer2013new.csv of FER+") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{name}: not a CSV in UTF-8 text ({str(error)[:100]})") from None
    table = table.fillna("")  # what short rows lack
    table.columns = [str(column).strip() for column in table.columns]
    kind = ("Usage",) if "Usage" in table else ("image", "row", "usage", "emotion")
    missing = [column for column in (*kind, *VOTE_COLUMNS) if column not in table]
    if missing:
        found = ", ".join(table.columns)[:200]
        raise DataError(
            f"{name}, row 1: no column {missing[0]!r}, so no votes like FER+'s fer2013new.csv; "
            f"found: {found}"
        )
    if not len(table):
        raise DataError(f"{name}: a header but no votes")
    return table


def _whole(table, columns, most: int, name: str) -> np.ndarray:
    """These columns as int64 (rows, columns); DataError where one is not a number 0 to `most`."""
    text = table[list(columns)]
    right = text.apply(lambda column: column.str.fullmatch(r"\s*[0-9]{1,9}\s*"))
    values = text.where(right, "-1").astype(np.int64).to_numpy()
    bad = np.argwhere((values < 0) | (values > most))
    if len(bad):
        row, column = bad[0]
        what = f"{columns[column]} is {text.iat[row, column][:40]!r}"
        raise DataError(f"{name}, row {row + 2}: {what}, where a whole number 0 to {most} is right")
    return values


def _own_rows(dataset: Dataset, table, rows: np.ndarray, name: str) -> np.ndarray:
    if (rows < 0).any():
        image = dataset.names[rows < 0][0]
        raise DataError(
            f"{name}: goes by the rows of fer2013.csv, so the data must be that file, and {image} "
            "is not from it; or give votes by image (columns image, row, usage, emotion)"
        )
    if rows.max(initial=-1) >= len(table):
        raise DataError(
            f"{name}: ends with row {len(table) + 1}, but the dataset has an image of row "
            f"{rows.max() + 2}; {len(table)} votes do not belong to this data"
        )
    usage = table["Usage"].str.strip().to_numpy(object)[rows]
    _agree(usage, dataset.usage, "Usage", rows, name)
    return rows


def _by_row(dataset: Dataset, table, rows: np.ndarray, name: str) -> np.ndarray:
    number = _whole(table, ["row"], 10**9, name)[:, 0]
    _unique(list(map(str, number.tolist())), "row", name)
    line = dict(zip(number.tolist(), range(len(number)), strict=True))
    at = np.array([line.get(row, -1) for row in rows.tolist()], int)
    here = at >= 0
    usage = table["usage"].str.strip().to_numpy(object)[at[here]]
    _agree(usage, dataset.usage[here], "usage", at[here], name)
    emotion = _emotions(table, name)[at[here]]
    _agree(emotion, _labels(dataset)[here], "emotion", at[here], name)
    return at


def _by_image(dataset: Dataset, table, name: str) -> np.ndarray:
    def stem(image):  # a user may have converted the JPEGs to PNG
        return image.strip().rsplit(".", 1)[0]

    emotion = _emotions(table, name).tolist()
    keys = list(zip(map(stem, table["image"].tolist()), emotion, strict=True))
    _unique([f"{image} with emotion {label}" for image, label in keys], "image", name)
    line = {key: i for i, key in enumerate(keys)}
    known = {image: i for i, (image, _) in enumerate(keys)}
    at = np.full(len(dataset), -1)
    for i, (image, label) in enumerate(zip(dataset.names, _labels(dataset).tolist(), strict=True)):
        at[i] = line.get((stem(image), label), -1)
        if at[i] < 0 and stem(image) in known:
            row = known[stem(image)]
            raise DataError(
                f"{name}, row {row + 2}: emotion is {emotion[row]} ({EMOTIONS[emotion[row]]}), but "
                f"the dataset has {image} as {label} ({EMOTIONS[label]})"
            )
    return at


def _emotions(table, name: str) -> np.ndarray:
    return _whole(table, ["emotion"], len(EMOTIONS) - 1, name)[:, 0]


def _labels(dataset: Dataset) -> np.ndarray:
    """FER2013's label of every image, also where classes were selected and renumbered."""
    return np.array([EMOTIONS.index(c) for c in dataset.classes])[dataset.labels]


def _agree(found: np.ndarray, expected: np.ndarray, column: str, rows, name: str) -> None:
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        i = wrong[0]
        raise DataError(
            f"{name}, row {rows[i] + 2}: {column} is {str(found[i])!r}, but the dataset has "
            f"{str(expected[i])!r} there; the file belongs to other data or another order"
        )


def _unique(keys: list[str], column: str, name: str) -> None:
    first = {}
    for i, key in enumerate(keys):
        if key in first:
            raise DataError(f"{name}, row {i + 2}: {column} {key} is also in row {first[key] + 2}")
        first[key] = i
