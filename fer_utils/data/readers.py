"""FER2013 in the forms people have it: a CSV, a zip or a folder of images, read to arrays."""

# The input is untrusted: nothing is extracted or unpickled, sizes are checked before anything is
# decoded, and every fault is a DataError of one line that names the file and the row or member.

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_utils.base import EMOTIONS, SIDE, USAGES, DataError

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
FOLDERS = "train|validation|test/<emotion>/*.jpg or .png"
STRUCTURE = f"expected {FOLDERS}, or {' or '.join(CSV_NAMES)}"
ACCEPTED = f"{', '.join(CSV_NAMES)}, the Kaggle .zip, a saved .npz, or a folder of {FOLDERS}"
SPELLINGS = (  # of class folders, by label
    "anger angry", "disgust disgusted", "fear fearful afraid scared", "happiness happy",
    "sadness sad", "surprise surprised", "neutral neutrality",
)  # fmt: skip
EMOTION_FOLDERS = {word: label for label, words in enumerate(SPELLINGS) for word in words.split()}
USAGE_FOLDERS = {
    "Training": "train training trainset trainingset",
    "PublicTest": "validation val valid validate dev validationset publictest",
    "PrivateTest": "test testing testset privatetest",
}
USAGE_FOLDERS = {word: usage for usage, words in USAGE_FOLDERS.items() for word in words.split()}
IMAGE_SUFFIXES = tuple(".jpg .jpeg .png .bmp .gif .tif .tiff .webp .pgm .ppm".split())
GREY = ("1", "L", "LA", "I", "I;16")  # Pillow's modes without colour
PIXELS = SIDE * SIDE
MAX_IMAGE = 2**20  # bytes of one image file
MAX_DECODED = 4096 * 4096  # pixels; a 20 KB PNG can declare far more
MAX_LISTED = 50  # messages of one load
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, struct.error, zlib.error, zipfile.BadZipFile)


class Bad(Exception):
    """Why a row, an image or all of a source cannot be used."""


@dataclass(frozen=True)
class Source:
    """Where data is: kind (csv, zip, folder, npz), path, (name, size, mtime_ns) of each file."""

    kind: str
    path: Path
    files: tuple

    @property
    def name(self) -> str:
        """The last part of the path, also of "." and ".."."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def stamp(self) -> str:
        """Changes when the path, or the name, size or time of any file does."""
        return hashlib.sha256(repr((os.path.abspath(self.path), self.files)).encode()).hexdigest()

    def digest(self) -> str:
        """sha256 of the file; of a folder, over the sorted relative paths and file contents."""
        if self.kind != "folder":
            with open(self.path, "rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        total = hashlib.sha256()
        for name, *_ in self.files:
            total.update(os.fsencode(name) + b"\0")
            try:
                with open(self.path / name, "rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError:
                total.update(b"unreadable")
        return total.hexdigest()


def locate(path) -> Source:
    """The form of data that is at `path`; DataError where there is none that can be read."""
    try:
        path = Path(path).expanduser()
        found = path.stat()
        files = [(path.name, found.st_size, found.st_mtime_ns)]
        if path.is_dir():
            files = sorted(_walk(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder; give {ACCEPTED}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (TypeError, RuntimeError, ValueError):
        raise DataError(f"{path!r} is not a path; give {ACCEPTED}") from None
    kind = "folder" if path.is_dir() else path.suffix.lower().removeprefix(".")
    if kind == "folder":
        if table := _find_csv(name for name, *_ in files):
            return locate(path / table)
        if not files:
            raise DataError(f"{path}: the folder holds no images; {STRUCTURE}")
    elif not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: neither a file nor a folder; give {ACCEPTED}")
    elif kind not in ("csv", "zip", "npz"):
        raise DataError(f"{path}: files of type {path.suffix!r} are not read; give {ACCEPTED}")
    elif not found.st_size:
        raise DataError(f"{path}: the file is empty; give {ACCEPTED}")
    return Source(kind, path, tuple(files))


def read(source: Source, on_bad: str, resize: bool) -> tuple[dict, dict]:
    """(arrays images, labels, usage, names; notes on the reading for the provenance)."""
    notes = {"split": "official", "converted": 0, "resized": 0, "bad": [], "bad_count": 0}
    reader, kept = {"csv": _csv, "zip": _zip, "folder": _folder}[source.kind], []
    try:
        for where, row in reader(source, notes, resize):
            try:
                kept.append(row())
            except Bad as why:
                if on_bad == "error":
                    raise DataError(f"{source.name}, {where}: {why}") from None
                notes["bad_count"] += 1
                if notes["bad_count"] <= MAX_LISTED:
                    notes["bad"].append(str(DataError(f"{where}: {why}")))
        if not kept:
            raise Bad(f"all {notes['bad_count']} are bad, the first: {notes['bad'][0]}")
    except Bad as why:
        raise DataError(f"{source.name}: {why}") from None
    except DAMAGE as error:
        if isinstance(error, DataError):
            raise
        told = getattr(error, "strerror", None) or error
        raise DataError(f"{source.path}: cannot be read, damaged or truncated ({told})") from None
    images, labels, usage, names = zip(*kept, strict=True)
    arrays = {"images": np.stack(images), "labels": np.array(labels, np.uint8)}
    return arrays | {"usage": np.array(usage), "names": np.array(names)}, notes


# Each reader yields (where, a call that gives image, label, usage and name or raises Bad).


def _folder(source: Source, notes: dict, resize: bool) -> Iterator:
    sizes = {name: size for name, size, _ in source.files}
    return _images(sizes, lambda name: (source.path / name).read_bytes(), notes, resize)


def _zip(source: Source, notes: dict, resize: bool) -> Iterator:
    with zipfile.ZipFile(source.path) as archive:
        members = {i.filename.replace("\\", "/"): i for i in archive.infolist() if not i.is_dir()}
        members = {name: members[name] for name in sorted(filter(_is_data, members))}
        if not members:
            raise Bad(f"the zip holds no images; {STRUCTURE}")
        if table := _find_csv(members):
            with archive.open(members[table]) as stream:
                for where, row in _table(io.BufferedReader(stream, 2**20)):
                    yield f"member {table}, {where}", row
        else:
            sizes = {name: info.file_size for name, info in members.items()}
            yield from _images(sizes, lambda name: archive.read(members[name]), notes, resize)


def _walk(path: Path) -> Iterator[tuple[str, int, int]]:
    """(relative path, size, mtime_ns) of the images and known tables below a folder."""

    def fail(error):
        raise error

    for folder, below, names in os.walk(path, onerror=fail, followlinks=True):
        above = map(os.path.realpath, Path(folder).absolute().parents)
        if os.path.realpath(folder) in above:  # a link that leads back up
            below.clear()
            continue
        relative = Path(folder).relative_to(path)
        for name in filter(_is_data, ((relative / name).as_posix() for name in names)):
            try:
                found = os.stat(path / name)
            except OSError:  # a dangling link: reported when it is read
                yield name, 0, 0
                continue
            if stat.S_ISREG(found.st_mode):
                yield name, found.st_size, found.st_mtime_ns


def _is_data(name: str) -> bool:
    """False for what an operating system, an archiver or an author leaves with the data."""
    parts = name.lower().split("/")
    if any(part.startswith(".") or part == "__macosx" for part in parts):
        return False
    return parts[-1].endswith(IMAGE_SUFFIXES) or parts[-1] in CSV_NAMES


def _find_csv(names: Iterable[str]) -> str | None:
    """The best of the files called like the two known tables: first by name, then by depth."""
    base = {name: name.lower().rsplit("/", 1)[-1] for name in names}
    tables = [(CSV_NAMES.index(base[n]), n.count("/"), n) for n in base if base[n] in CSV_NAMES]
    return min(tables)[-1] if tables else None


# images


def _images(sizes: dict, content: Callable, notes: dict, resize: bool) -> Iterator:
    found, notes["split"] = _split_and_class(sizes)

    def row(name):
        usage, label = found[name]
        if label is None:
            parent = f"/{name}".rsplit("/", 2)[-2]
            raise Bad(f"{parent!r} is not a class folder; valid are {', '.join(EMOTIONS)}")
        if usage is None:
            raise Bad(f"no split folder above; {STRUCTURE}")
        if sizes[name] > MAX_IMAGE:
            raise Bad(f"{sizes[name]} bytes, which is implausible (at most {MAX_IMAGE})")
        image, colour, resized = _decode(name, content, resize)
        notes["converted"] += colour
        notes["resized"] += resized
        return image, label, usage, name.rsplit("/", 1)[-1]

    with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd files
        for name in found:
            yield f"image {name}", partial(row, name)


def _split_and_class(names: Iterable[str]) -> tuple[dict, str]:
    """({path: (usage, label)}, how the split is known); None is what a path does not say.

    The split is "official" where every file's name begins with a usage, else that of "folders".
    """
    found, roots = {}, set()
    for name in names:
        *root, parent = name.split("/")[:-1] or [""]
        label, usage = EMOTION_FOLDERS.get(parent.strip().lower()), None
        while root and (above := USAGE_FOLDERS.get(re.sub("[^a-z]", "", root[-1].lower()))):
            usage = usage or above
            root.pop()
        found[name] = usage, label
        if label is not None:
            roots.add("/".join(root) or ".")
    if not roots:
        raise Bad(f"no class folders; {STRUCTURE}")
    if len(roots) > 1:
        raise Bad(f"more than one copy of the data, below {', '.join(sorted(roots)[:5])}; give one")
    prefix = {name: name.rsplit("/", 1)[-1].split("_")[0] for name in found}
    if all(prefix[name] in USAGES for name, (_, label) in found.items() if label is not None):
        return {name: (prefix[name], label) for name, (_, label) in found.items()}, "official"
    return found, "folders"


def _decode(name: str, content: Callable, resize: bool) -> tuple[np.ndarray, bool, bool]:
    """(grey image (48, 48), was colour, was resized)."""
    try:
        image = Image.open(io.BytesIO(content(name)))
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
    return pixels, colour, wrong


# tables


def _csv(source: Source, *_) -> Iterator:
    with open(source.path, "rb") as stream:
        yield from _table(stream)


def _table(stream: io.BufferedReader) -> Iterator:
    """The rows of a CSV; an image's name carries its row's number, by which FER+ joins."""
    if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Bad("encoded as UTF-16; save it as UTF-8")
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace")
    header = text.readline()
    if "\0" in header or "\ufffd" in header:
        raise Bad("not a CSV in UTF-8 text; expected a header emotion,pixels,Usage")
    columns = [name.strip() for name in _fields(header.strip())]
    for name in ("emotion", "pixels", "Usage"):
        if columns.count(name) != 1:
            fault = f"no column {name!r}" if name not in columns else f"two columns {name!r}"
            found = ", ".join(columns)[:200] or "none"
            raise Bad(f"row 1: {fault}; needed: emotion, pixels, Usage; found: {found}")
    rows = ((number, line) for number, line in enumerate(text, 2) if line.strip())
    row, index = next(rows, None), 0
    if not row:
        raise Bad("a header but no rows; expected one row for every image")
    while row:
        (number, line), row = row, next(rows, None)
        hint = "" if row else "; it is the last row: the file looks truncated"
        yield f"row {number}", partial(_row, line, columns, index, hint)
        index += 1


def _fields(line: str) -> list[str]:
    if '"' not in line and len(line) < csv.field_size_limit():
        return line.split(",")
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise Bad(f"not a row of a CSV ({error})") from None


def _row(line: str, columns: list[str], index: int, hint: str) -> tuple:
    fields = _fields(line)
    row = dict(zip(columns, map(str.strip, fields), strict=False))
    if len(fields) != len(columns):
        raise Bad(f"{len(fields)} columns where the header names {len(columns)}{hint}")
    if row["emotion"] not in set("0123456"):
        raise Bad(f"emotion is {row['emotion'][:40]!r}, where a whole number from 0 to 6 is right")
    if row["Usage"] not in USAGES:
        raise Bad(
            f"Usage is {row['Usage'][:40]!r}, where one of {', '.join(USAGES)} is right{hint}"
        )
    clean = row["pixels"].replace(" ", "").isdecimal()
    values = np.fromstring(row["pixels"], np.int64, sep=" ") if clean else np.zeros(0)
    if values.size != PIXELS or values.max() > 255:
        values = _pixels(row["pixels"].split(), hint)
    image = values.astype(np.uint8).reshape(SIDE, SIDE)
    return image, int(row["emotion"]), row["Usage"], f"fer{index:07d}.png"


def _pixels(tokens: list[str], hint: str) -> np.ndarray:
    """The slow way, which finds the fault and accepts tabs."""
    for position, token in enumerate(tokens, 1):
        if not token.isdecimal() or len(token) > 9 or int(token) > 255:
            right = "where a whole number from 0 to 255 is right"
            raise Bad(f"pixel {position} is {token[:40]!r}, {right}")
    if len(tokens) != PIXELS:
        raise Bad(f"{len(tokens)} pixels where {SIDE} x {SIDE} = {PIXELS} are right{hint}")
    return np.array(tokens, int)
