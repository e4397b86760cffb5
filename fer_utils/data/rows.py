"""Single images and rows: what words, paths, image files, CSV lines and parquet cells mean."""

from __future__ import annotations

import bz2
import csv
import difflib
import gzip
import io
import json
import lzma
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_utils.base import EMOTIONS, SIDE, USAGES

FOLDERS = "train|validation|test/<emotion>/*.jpg or .png"
STRUCTURE = f"expected {FOLDERS}, or fer2013.csv or icml_face_data.csv"
COLUMNS = {"emotion": "label", "pixels": "image", "Usage": "split"}  # and other names for them
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
SPELLINGS = (  # of class folders, by label
    "anger angry", "disgust disgusted", "fear fearful afraid scared", "happiness happy",
    "sadness sad", "surprise surprised", "neutral neutrality",
)  # fmt: skip
EMOTION_FOLDERS = {word: label for label, words in enumerate(SPELLINGS) for word in words.split()}
USAGE_FOLDERS = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys("validation val valid validate dev publictest".split(), "PublicTest"),
    **dict.fromkeys(("test", "testing", "privatetest"), "PrivateTest"),
}
IMAGES = tuple(
    ".jpg .jpeg .jfif .jpe .png .bmp .gif .tif .tiff .webp .avif .heic .jp2 .pgm .ppm".split()
)
GREY = ("1", "L", "LA", "I", "I;16")  # Pillow's modes without colour
PIXELS = SIDE * SIDE
MAX_IMAGE = 2**20  # bytes of one image file
MAX_DECODED = 4096 * 4096  # pixels; a 20 KB PNG can declare far more


class Bad(Exception):
    """Why a row, an image or all of a source cannot be used."""


@lru_cache(10_000)
def label_of(text: str) -> int | None:
    """The label that a folder or a cell names: 0 to 6, or a word, one letter of it wrong or not."""
    if re.fullmatch(r"[0-6](\.0*)?", text):
        return int(text[0])
    letters = re.sub("[^a-z]", "", text[:40].lower())
    near = difflib.get_close_matches(letters, EMOTION_FOLDERS, 1, 0.85)
    return EMOTION_FOLDERS[near[0]] if near else None


@lru_cache(10_000)
def usage_of(text: str) -> str | None:
    """The split that a folder, a file of a split or a cell names, in any usual spelling."""
    word = re.sub("[^a-z0-9]", "", text[:40].lower())
    return USAGE_FOLDERS.get(word) or USAGE_FOLDERS.get(re.sub("(set|data|images)$", "", word))


# images


class Place(NamedTuple):
    """What a folder's path says: the data's root, the split's folder and usage, the label."""

    root: str
    split: str
    usage: str | None
    label: int | None
    fault: str


@lru_cache(100_000)
def _place(folder: str) -> Place:
    """The deepest class folder decides, a number only without a word, and the split nearest to it.

    A split below the class counts where there is none above.
    """
    parts = folder.split("/")
    labels, usages = list(map(label_of, parts)), list(map(usage_of, parts))
    classes = [i for i, label in enumerate(labels) if label is not None]
    at = max(classes, key=lambda i: (not parts[i].isdecimal(), i), default=len(parts))
    splits = [i for i, usage in enumerate(usages) if usage]
    split = max((i for i in splits if i < at), default=min(splits, default=len(parts)))
    start = min(split, at)
    while start and split < len(parts) and usages[start - 1]:
        start -= 1
    fault = f"{parts[-1]!r} is not one of the class folders {', '.join(EMOTIONS)}"
    fault += '; on_bad="skip" leaves such images out and counts them'
    if classes:
        above = f"{parts[at - 1]!r} is not a split folder" if at else "no split folder above"
        fault = f"{above}; {STRUCTURE}"
    name, usage = [*parts, ""][split], [*usages, None][split]
    return Place("/".join(parts[:start]) or ".", name, usage, [*labels, None][at], fault)


def is_junk(name: str) -> bool:
    """True for what an operating system or an archiver leaves with the data."""
    parts = name.lower().split("/")
    hidden = any(part.startswith(".") or part in ("__macosx", "@eadir") for part in parts)
    return hidden or parts[-1] in ("thumbs.db", "desktop.ini")


def is_image(name: str) -> bool:
    """True for every file in a class folder, or where one is expected, and for images elsewhere."""
    folder = name.rpartition("/")[0]
    expected = any(map(usage_of, folder.split("/")[-2:-1]))
    return name.lower().endswith(IMAGES) or expected or _place(folder).label is not None


def images(sizes: dict, content: Callable, notes: dict, resize: bool) -> Iterator:
    places, usages, notes["split"] = _splits(sizes)

    def row(name):
        if places[name].label is None or not usages.get(name):
            raise Bad(places[name].fault)
        if sizes[name] > MAX_IMAGE:
            raise Bad(f"{sizes[name]} bytes, which is implausible (at most {MAX_IMAGE})")
        image = _decode(partial(content, name), notes, resize)
        return image, places[name].label, usages[name], name.rpartition("/")[2]

    with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd files
        for name in sizes:
            yield f"image {name}", partial(row, name)


def _splits(names: Iterable[str]) -> tuple[dict, dict, str]:
    """(places, usages) by path, and how the splits are known, for the record.

    Kaggle's file names begin with the official split. They decide ("official") where all agree
    with the folders, or PublicTest and PrivateTest are together in test; else the folders do.
    """
    places = {name: _place(name.rpartition("/")[0]) for name in names}
    known = {name: place for name, place in places.items() if place.label is not None}
    if not known:
        raise Bad(f"no class folders; {STRUCTURE}")
    placed = {name: place for name, place in known.items() if place.usage} or known
    if len(roots := {place.root for place in placed.values()}) > 1:
        raise Bad(f"more than one copy of the data, below {', '.join(sorted(roots)[:5])}; give one")
    folders = {name: place.usage for name, place in placed.items()}
    begins = {name: name.rpartition("/")[2].split("_")[0] for name in placed}
    by_name = {name: usage for name, usage in begins.items() if usage in USAGES}
    differ = [name for name, usage in by_name.items() if usage != folders[name]]
    together = {"PublicTest": "PrivateTest"} if "PublicTest" not in folders.values() else {}
    agree = all(folders[name] in (None, together.get(by_name[name])) for name in differ)
    if agree and len(by_name) == len(placed) or not any(folders.values()):
        return places, by_name, "official"
    split = "folders " + ", ".join(sorted({place.split for place in placed.values()}))
    if differ:
        split += f"; {len(differ)} of {len(placed)} file names say another split than their folder"
        split += f", as {differ[0]}; the folders decide"
    return places, folders, split


def _decode(content: Callable[[], bytes], notes: dict, resize: bool) -> np.ndarray:
    """A grey image (48, 48); notes count the coloured and the resized ones."""
    try:
        image = Image.open(io.BytesIO(content()))
        (width, height), colour = image.size, image.mode not in GREY
        wrong = (width, height) != (SIDE, SIDE)
        if wrong and not resize:
            right = f"{SIDE} x {SIDE} is right (--resize or resize=True scales)"
            raise Bad(f"{width} x {height} pixels, where {right}")
        if width * height > MAX_DECODED:
            raise Bad(f"{width} x {height} pixels, which is implausible")
        image.draft("L", image.size)  # of a JPEG its own grey values
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16 bits
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        pixels = np.asarray(image.convert("L"))
    except Bad:
        raise
    except UnidentifiedImageError:
        raise Bad(f"not an image; expected a JPEG or PNG of {SIDE} x {SIDE} pixels") from None
    except Exception as error:  # the decoders of damaged files raise a dozen kinds
        why = getattr(error, "strerror", None) or error
        raise Bad(f"cannot be read, damaged or cut short ({why})") from None
    if wrong:
        import cv2

        pixels = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    notes["converted"] += colour
    notes["resized"] += wrong
    return pixels


# tables


def table(stream: io.BufferedReader) -> Iterator:
    """The rows of a CSV; an image's name carries its row's number, by which FER+ joins."""
    for magic, opened in COMPRESSED.items():
        if stream.peek(8).startswith(magic):
            stream = opened(stream)
    if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Bad("encoded as UTF-16; save it as UTF-8")
    with io.TextIOWrapper(stream, "utf-8-sig", errors="replace") as text:
        header = text.readline()
        if "\0" in header or "\ufffd" in header:
            raise Bad("not a CSV in UTF-8 text; expected a header emotion,pixels,Usage")
        separator = max(",;\t|", key=header.count)
        columns = _fields(header.strip(), separator)
        read = partial(_row, separator, len(columns), _columns(columns))
        rows = ((number, line) for number, line in enumerate(text, 2) if line.strip())
        row, index = next(rows, None), 0
        if not row:
            raise Bad("a header but no rows; expected one row for every image")
        while row:
            (number, line), row = row, next(rows, None)
            hint = "" if row else "; it is the last row: the file looks truncated"
            yield f"row {number}", partial(read, line, index, hint)
            index += 1


def _fields(line: str, separator: str) -> list[str]:
    if '"' not in line and len(line) < csv.field_size_limit():
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise Bad(f"not a row of a CSV ({error})") from None


def _columns(names: Iterable[str], needed: Iterable[str] = tuple(COLUMNS)) -> dict[str, int]:
    """Where the needed columns are."""
    own, at = [name.strip().lower() for name in names], {}
    for name in needed:
        word = name.lower() if name.lower() in own else COLUMNS[name]
        if own.count(word) != 1:
            fault = f"two columns {name!r}" if word in own else f"no column {name!r}"
            found = ", ".join(map(str, names))[:200] or "none"
            hint = "; give icml_face_data.csv of the same download" if "pixels" in own else ""
            raise Bad(f"row 1: {fault}; needed: {', '.join(needed)}; found: {found}{hint}")
        at[name] = own.index(word)
    return at


def _row(separator: str, width: int, at: dict, line: str, index: int, hint: str) -> tuple:
    fields = _fields(line.rstrip("\r\n"), separator)
    if len(fields) != width:
        raise Bad(f"{len(fields)} columns where the header names {width}{hint}")
    label, usage = _known(fields[at["emotion"]], fields[at["Usage"]], hint)
    return _pixels(fields[at["pixels"]], hint), label, usage, f"fer{index:07d}.png"


def _known(emotion: str, usage: str, hint: str = "") -> tuple[int, str]:
    label, split = label_of(emotion.strip()), usage_of(usage)
    if label is None:
        right = f"where 0 to 6 or one of {', '.join(EMOTIONS)} is right"
        raise Bad(f"emotion is {emotion[:40]!r}, {right}")
    if split is None:
        raise Bad(f"Usage is {usage[:40]!r}, where one of {', '.join(USAGES)} is right{hint}")
    return label, split


def _pixels(text: str, hint: str = "") -> np.ndarray:
    clean = text.replace(" ", "").isdecimal()
    values = np.fromstring(text, np.int64, sep=" ") if clean else np.zeros(0)
    if values.size != PIXELS or values.max() > 255:  # the slow way, which finds the fault
        tokens = re.sub(r"[\[\],;]", " ", text).split()
        for position, token in enumerate(tokens, 1):
            if not token.isdecimal() or len(token) > 9 or int(token) > 255:
                right = "where a whole number from 0 to 255 is right"
                raise Bad(f"pixel {position} is {token[:40]!r}, {right}")
        if len(tokens) != PIXELS:
            raise Bad(f"{len(tokens)} pixels where {SIDE} x {SIDE} = {PIXELS} are right{hint}")
        values = np.array(tokens, int)
    return values.astype(np.uint8).reshape(SIDE, SIDE)


def frame(name: str, stream: io.BufferedIOBase, notes: dict, resize: bool) -> Iterator:
    """The rows of a parquet file, in which Hugging Face keeps image files; `name` may show a split.

    Labels are FER2013's numbers unless the file names its own.
    """
    try:
        import pandas as pd
        from pyarrow.parquet import read_schema
    except ImportError:
        raise Bad("parquet needs pyarrow: pip install pyarrow, or give a CSV or images") from None
    cells = pd.read_parquet(stream)
    at = _columns(cells.columns, ["emotion", "pixels"])
    about = json.loads((read_schema(stream).metadata or {}).get(b"huggingface", b"{}"))
    label = about.get("info", {}).get("features", {}).get(cells.columns[at["emotion"]], {})
    words = dict(enumerate(label.get("names") or ()))
    cells.columns = [str(column).lower() for column in cells.columns]
    by_name = next(filter(usage_of, re.split("[^a-zA-Z]+", name)), name)
    splits = cells.get("usage", cells.get("split", pd.Series(by_name, cells.index)))

    def row(i):
        image = cells.iat[i, at["pixels"]]
        image = image["bytes"] if isinstance(image, dict) else image
        emotion = cells.iat[i, at["emotion"]]
        emotion, usage = _known(str(words.get(emotion, emotion)), str(splits.iat[i]))
        if isinstance(image, bytes):
            image = _decode(lambda: image, notes, resize)
        else:
            image = _pixels(str(np.ravel(image).tolist()).strip("['\"]"))
        return image, emotion, usage, f"{name}:{i}"

    for i in range(len(cells)):
        yield f"row {i}", partial(row, i)
