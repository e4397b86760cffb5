"""The FER+ votes: ten crowd workers' labels for every FER2013 image (Barsoum et al. 2016)."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from fer_utils.base import EMOTIONS, DataError
from fer_utils.data.dataset import Dataset

VOTE_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger",
    "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
TAGGERS = 10
FACES = 8  # the first eight columns are emotions, contempt being the eighth; NF is "not a face"
# FER2013's label for a vote column; -1 for the three that FER2013 does not know.
LABELS = np.array([EMOTIONS.index(c) if c in EMOTIONS else -1 for c in VOTE_COLUMNS], np.int8)


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
    numbered = [re.fullmatch(r"fer(\d{7,9})\.png", image) for image in dataset.names.tolist()]
    rows = np.array([int(match[1]) if match else -1 for match in numbered], int)
    labels = np.array([EMOTIONS.index(name) for name in dataset.classes])[dataset.labels]
    if "Usage" in table:
        if (rows < 0).any():
            raise DataError(
                f"{name}: goes by the rows of fer2013.csv, but {dataset.names[rows < 0][0]} is not "
                "from that file; give it, or votes by image (columns image, row, usage, emotion)"
            )
        if (last := rows.max(initial=-1)) >= len(table):
            raise DataError(
                f"{name}: ends with row {len(table) + 1}, the dataset has row {last + 2}"
            )
        at = rows
        _agree(table["Usage"], at, dataset.usage, name)
    elif (rows >= 0).all():
        at = _lines(_whole(table, ["row"], 10**9, name)[:, 0], rows, "row", name)
        _agree(table["usage"], at, dataset.usage, name)
        _agree(table["emotion"], at, labels.astype(str), name)
    else:
        at = _by_image(dataset, labels, table, name)
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


def _read(path, name: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give fer2013new.csv of FER+") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # pandas' errors are such
        raise DataError(f"{name}: not a CSV in UTF-8 text ({str(error)[:100]})") from None
    table = table.fillna("").apply(lambda column: column.str.strip())  # short rows lack cells
    table.columns = [str(column).strip() for column in table.columns]
    kind = ("Usage",) if "Usage" in table else ("image", "row", "usage", "emotion")
    if missing := [column for column in (*kind, *VOTE_COLUMNS) if column not in table]:
        raise DataError(
            f"{name}, row 1: no column {missing[0]!r}, so no votes like FER+'s fer2013new.csv; "
            f"found: {', '.join(table.columns)[:200]}"
        )
    if not len(table):
        raise DataError(f"{name}: a header but no votes")
    return table


def _whole(table, columns, most: int, name: str) -> np.ndarray:
    """These columns as int64 (rows, columns); DataError where one is not a number 0 to `most`."""
    text = table[list(columns)]
    right = text.apply(lambda column: column.str.fullmatch("[0-9]{1,9}"))
    values = text.where(right, "-1").astype(np.int64).to_numpy()
    for row, column in np.argwhere((values < 0) | (values > most))[:1]:
        what = f"{columns[column]} is {text.iat[row, column][:40]!r}"
        raise DataError(f"{name}, row {row + 2}: {what}, where a whole number 0 to {most} is right")
    return values


def _lines(keys, wanted, column: str, name: str) -> np.ndarray:
    """Where each wanted key is in the table, -1 for none; DataError for a key given twice."""
    index = pd.Index(keys)
    for again in np.flatnonzero(index.duplicated())[:1]:
        first = np.flatnonzero(index == index[again])[0]
        told = " with emotion ".join(map(str, np.atleast_1d(index[again])))
        raise DataError(f"{name}, row {again + 2}: {column} {told} is also in row {first + 2}")
    return index.get_indexer(pd.Index(wanted))


def _by_image(dataset: Dataset, labels: np.ndarray, table, name: str) -> np.ndarray:
    def stems(images):  # a user may have converted the JPEGs to PNG
        return [image.rsplit(".", 1)[0] for image in images]

    emotion = _whole(table, ["emotion"], len(EMOTIONS) - 1, name)[:, 0]
    images, own = stems(table["image"]), stems(dataset.names.tolist())
    wanted = list(zip(own, labels.tolist(), strict=True))
    at = _lines(list(zip(images, emotion.tolist(), strict=True)), wanted, "image", name)
    known = dict(zip(images, range(len(images)), strict=True))
    for i in np.flatnonzero(at < 0):
        if (row := known.get(own[i])) is not None:
            raise DataError(
                f"{name}, row {row + 2}: emotion is {emotion[row]} ({EMOTIONS[emotion[row]]}), but "
                f"the dataset has {dataset.names[i]} as {labels[i]} ({EMOTIONS[labels[i]]})"
            )
    return at


def _agree(column: pd.Series, at: np.ndarray, expected: np.ndarray, name: str) -> None:
    found = column.to_numpy(object)[at]
    for i in np.flatnonzero((at >= 0) & (found != expected))[:1]:
        raise DataError(
            f"{name}, row {at[i] + 2}: {column.name} is {found[i]!r}, but the dataset has "
            f"{str(expected[i])!r} there; the file belongs to other data or another order"
        )
