"""Readers of the forms in which people have FER2013: a CSV, a zip, a folder of class folders.

The input is untrusted: nothing is extracted or unpickled, sizes are checked before anything is
decoded, and every fault is a `DataError` of one line that names the file and the row or member.
"""

import csv
import hashlib
import io
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48
PIXELS = SIDE * SIDE

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
ACCEPTED = (
    "fer2013.csv, icml_face_data.csv, the Kaggle .zip, an .npz written by Dataset.save, "
    "or a folder of train|validation|test/<emotion>/*.jpg or .png"
)
STRUCTURE = f"expected train|validation|test/<emotion>/*.jpg or .png, or {' or '.join(CSV_NAMES)}"
EMOTION_FOLDERS = {
    spelling: label
    for label, spellings in enumerate(
        (
            "anger angry",
            "disgust disgusted",
            "fear fearful afraid scared",
            "happiness happy",
            "sadness sad",
            "surprise surprised",
            "neutral neutrality",
        )
    )
    for spelling in spellings.split()
}
USAGE_FOLDERS = {
    spelling: usage
    for usage, spellings in {
        "Training": "train training trainset trainingset",
        "PublicTest": "validation val valid validate dev validationset publictest",
        "PrivateTest": "test testing testset privatetest",
    }.items()
    for spelling in spellings.split()
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
OTHER_IMAGES = (".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

MAX_IMAGE = 2**20  # bytes of one image file
MAX_CSV = 2**30
MAX_LINE = 2**20
MAX_DECODED = 4096 * 4096  # pixels; a 20 KB PNG can declare far more
MAX_RATIO = 100  # FER2013 packs 1:1 as JPEG and 3:1 as CSV
MAX_LISTED = 50
ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


class DataError(ValueError):
    """Data that cannot be used; the message is one plain line: what, where, what would be right."""

    def __init__(self, message: str):
        text = " ".join(message.split())
        if len(text) > 800:  # a hostile name can be long
            text = f"{text[:400]} ... {text[-400:]}"
        super().__init__("".join(c if c.isprintable() else "?" for c in text))


class _Bad(Exception):
    """Why one row or image cannot be used."""


class _Faults:
    """Raises at the first bad row or image, or counts them and keeps the first messages."""

    def __init__(self, where: str, on_bad: str):
        self.where, self.on_bad = where, on_bad
        self.count, self.messages = 0, []

    def add(self, message: str) -> None:
        if self.on_bad == "error":
            raise DataError(f"{self.where}, {message}")
        self.count += 1
        if self.count <= MAX_LISTED:
            self.messages.append(str(DataError(message)))


@dataclass(frozen=True)
class Place:
    """Where data lies: kind (csv, zip, folder, npz), path, (name, size, mtime_ns) of each file."""

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


def locate(path) -> Place:
    """The form of data that lies at `path`; DataError where it is none that can be read."""
    try:
        path = Path(path).expanduser()
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            files = sorted(_walk(path))
        elif stat.S_ISREG(found.st_mode):
            files = [(path.name, found.st_size, found.st_mtime_ns)]
            open(path, "rb").close()
        else:
            files = None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder; give {ACCEPTED}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (TypeError, RuntimeError, ValueError):
        raise DataError(f"{path!r} is not a path; give {ACCEPTED}") from None
    if files is None:
        raise DataError(f"{path}: neither a file nor a folder; give {ACCEPTED}")
    if path.is_dir():
        table = _find_csv(name for name, _, _ in files)
        if table:
            return locate(path / table)
        if not files:
            raise DataError(f"{path}: the folder holds no images; {STRUCTURE}")
        return Place("folder", path, tuple(files))
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("csv", "zip", "npz"):
        raise DataError(f"{path}: files of type {path.suffix!r} are not read; give {ACCEPTED}")
    if not found.st_size:
        raise DataError(f"{path}: the file is empty; give {ACCEPTED}")
    return Place(kind, path, tuple(files))


def _walk(path: Path):
    """(relative path, size, mtime_ns) of the images and known tables below a folder."""

    def fail(error):
        raise error

    seen = set()
    for folder, below, names in os.walk(path, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            below.clear()
            continue
        seen.add(real)
        relative = os.path.relpath(folder, path).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        for name in names:
            if not _wanted(prefix + name):
                continue
            try:
                found = os.stat(os.path.join(folder, name))
                if stat.S_ISREG(found.st_mode):
                    yield prefix + name, found.st_size, found.st_mtime_ns
            except OSError:  # a dangling link: reported when it is read
                yield prefix + name, 0, 0


def _wanted(name: str) -> bool:
    """False for what an operating system, an archiver or an author leaves beside the data."""
    parts = name.lower().split("/")
    if any(part.startswith(".") or part == "__macosx" for part in parts):
        return False
    return parts[-1].endswith(IMAGE_SUFFIXES + OTHER_IMAGES) or parts[-1] in CSV_NAMES


def _find_csv(names) -> str | None:
    """The best of the members called like the two known tables: first by name, then by depth."""
    rank = {name: name.lower().rsplit("/", 1)[-1] for name in names}
    rank = {name: CSV_NAMES.index(base) for name, base in rank.items() if base in CSV_NAMES}
    return min(rank, key=lambda name: (rank[name], name.count("/"), name), default=None)


def digest(place: Place) -> str:
    """sha256 of the file; of a folder, over the sorted relative paths and file contents."""
    if place.kind != "folder":
        with open(place.path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    total = hashlib.sha256()
    for name, _, _ in place.files:
        total.update(os.fsencode(name) + b"\0")
        try:
            with open(place.path / name, "rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError:
            total.update(b"unreadable")
    return total.hexdigest()


def parse(place: Place, on_bad: str, resize: bool) -> tuple[dict, dict]:
    """(arrays images, labels, usage, names; notes split, converted, resized, bad, bad_count)."""
    faults = _Faults(place.name, on_bad)
    try:
        if place.kind == "csv":
            with open(place.path, "rb") as stream:
                return _parse_rows(stream, place.files[0][1], faults)
        if place.kind == "zip":
            return _parse_zip(place.path, faults, resize)
        sizes = {name: size for name, size, _ in place.files}

        def read(name):
            return _read_file(place.path / name, sizes[name])

        return _parse_images(sizes, read, faults, resize)
    except OSError as error:
        raise DataError(f"{place.path}: cannot be read ({error.strerror or error})") from None


def _result(images, labels, usage, names, faults, split="official", converted=0, resized=0):
    if not labels:
        why = f"all {faults.count} are bad, the first: {faults.messages[0]}"
        raise DataError(f"{faults.where}: no usable rows or images; {why}")
    arrays = {
        "images": np.frombuffer(images, np.uint8).reshape(-1, SIDE, SIDE),
        "labels": np.array(labels, np.uint8),
        "usage": np.array(usage),
        "names": np.array(names),
    }
    notes = {"split": split, "converted": converted, "resized": resized}
    return arrays, notes | {"bad": faults.messages, "bad_count": faults.count}


# CSV


def _parse_rows(stream, size: int, faults: _Faults):
    columns, read = _parse_header(stream, faults.where)
    images, labels, usage, names = bytearray(), [], [], []
    index = 0  # of the data row, by which FER+ joins; bad rows count, blank lines do not
    number = 1
    while line := stream.readline(MAX_LINE):
        number += 1
        read += len(line)
        if len(line) == MAX_LINE:
            raise DataError(f"{faults.where}, row {number}: longer than {MAX_LINE} bytes")
        if not line.strip():
            continue
        try:
            label, use, pixels = _parse_row(line, columns, last=read >= size)
            labels.append(label)
            usage.append(use)
            images += pixels
            names.append(f"fer{index:07d}.png")
        except _Bad as why:
            faults.add(f"row {number}: {why}")
        index += 1
    if not index:
        raise DataError(f"{faults.where}: a header but no rows; expected one row for every image")
    return _result(images, labels, usage, names, faults)


def _parse_header(stream, where: str) -> tuple[list[str], int]:
    line = stream.readline(MAX_LINE)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{where}: encoded as UTF-16; save it as UTF-8")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(line) == MAX_LINE:
        raise DataError(f"{where}: not a CSV in UTF-8 text; expected a header emotion,pixels,Usage")
    columns = [name.strip() for name in next(csv.reader([text.strip()]), [])]
    for name in ("emotion", "pixels", "Usage"):
        if columns.count(name) != 1:
            found = ", ".join(columns)[:200] or "none"
            fault = f"no column {name!r}" if name not in columns else f"two columns {name!r}"
            raise DataError(
                f"{where}, row 1: {fault}; needed: emotion, pixels, Usage; found: {found}"
            )
    return columns, len(line)


def _parse_row(line: bytes, columns: list[str], last: bool) -> tuple[int, str, bytes]:
    fields = line.strip().split(b",")
    if b'"' in line:
        try:
            text = next(csv.reader([line.decode("utf-8", "replace")]))
        except csv.Error as error:
            raise _Bad(f"not a row of a CSV ({error})") from None
        fields = [field.encode() for field in text]
    row = dict(zip(columns, fields, strict=False))
    hint = "; it is the last row, so the file looks truncated" if last else ""
    if len(fields) != len(columns):
        why = f"{len(fields)} columns where the header names {len(columns)}"
        if len(fields) < len(columns):
            why += f", {len(row.get('pixels', b'').split())} of {PIXELS} pixels{hint}"
        raise _Bad(why)
    label = row["emotion"].strip()
    if label not in (b"0", b"1", b"2", b"3", b"4", b"5", b"6"):
        raise _Bad(f"emotion is {_shown(label)}, where a whole number from 0 to 6 is right")
    pixels = _parse_pixels(row["pixels"], hint)
    usage = row["Usage"].strip().decode("utf-8", "replace")
    if usage not in USAGES:
        cut = hint if any(known.startswith(usage) for known in USAGES) else ""
        raise _Bad(f"Usage is {_shown(usage)}, where one of {', '.join(USAGES)} is right{cut}")
    return int(label), usage, pixels


def _parse_pixels(field: bytes, hint: str) -> bytes:
    if field and not field.translate(None, b"0123456789 "):
        values = np.fromstring(field, np.int64, sep=" ")
        if values.size == PIXELS and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    tokens = field.split()  # the slow way finds the fault, and accepts tabs
    for position, token in enumerate(tokens, 1):
        if not token.isdigit() or len(token) > 9 or int(token) > 255:
            right = "where a whole number from 0 to 255 is right"
            raise _Bad(f"pixel {position} is {_shown(token)}, {right}")
    if len(tokens) != PIXELS:
        short = hint if len(tokens) < PIXELS else ""
        raise _Bad(f"{len(tokens)} pixels where {SIDE} x {SIDE} = {PIXELS} are right{short}")
    return bytes(map(int, tokens))


def _shown(value: bytes | str) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return repr(text[:40]) if text else "blank"


# zip


def _parse_zip(path: Path, faults: _Faults, resize: bool):
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_FAULTS:
        raise DataError(
            f"{path}: not a readable zip, it looks truncated; download it again"
        ) from None
    with archive:
        members = {}
        for info in archive.infolist():
            name = info.filename.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
                raise DataError(
                    f"{path.name}, member {name}: its path leads out of the zip; refused"
                )
            if name.endswith("/") or not _wanted(name):
                continue
            if info.flag_bits & 1:
                raise DataError(f"{path.name}, member {name}: encrypted; unpack it and zip it anew")
            if name in members:
                raise DataError(f"{path.name}, member {name}: is there twice")
            members[name] = info
        if not members:
            raise DataError(f"{path}: the zip holds no images; {STRUCTURE}")
        table = _find_csv(members)
        if table:
            return _parse_zipped_csv(archive, members[table], faults)

        def read(name):
            return _read_member(archive, members[name])

        return _parse_images(sorted(members), read, faults, resize, "member")


def _check_size(info: zipfile.ZipInfo, limit: int) -> None:
    packed = max(info.compress_size, 1)
    bomb = info.file_size > limit // 10 and info.file_size > MAX_RATIO * packed
    if info.file_size > limit or bomb:
        raise _Bad(
            f"declares {info.file_size} bytes packed in {info.compress_size}, which is implausible "
            f"(at most {limit} bytes, at most {MAX_RATIO} to 1)"
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Bad("packed by an unusual method; zip it anew with deflate")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_size(info, MAX_IMAGE)
    try:
        # zipfile stops at the declared size; a longer stream then fails its checksum
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
    except ZIP_FAULTS as error:
        raise _Bad(f"damaged in the zip ({error})") from None
    if len(data) != info.file_size:
        raise _Bad(f"holds {len(data)} bytes where the zip declares {info.file_size}")
    return data


def _parse_zipped_csv(archive: zipfile.ZipFile, info: zipfile.ZipInfo, faults: _Faults):
    faults.where = f"{faults.where}, member {info.filename}"
    try:
        _check_size(info, MAX_CSV)
        with archive.open(info) as member, io.BufferedReader(member, 2**20) as stream:
            return _parse_rows(stream, info.file_size, faults)
    except _Bad as error:
        raise DataError(f"{faults.where}: {error}") from None
    except DataError:
        raise
    except ZIP_FAULTS as error:
        raise DataError(f"{faults.where}: damaged in the zip ({error})") from None


# images


def _parse_images(paths, read, faults: _Faults, resize: bool, unit: str = "image"):
    """The images at these relative paths, in this order; `read` gives the bytes of one."""
    placed, split = _place_images(paths, faults, unit)
    images, labels, usage, names = bytearray(), [], [], []
    converted = resized = 0
    with _quiet_decoder() as decode:
        for name, (use, label) in placed.items():
            try:
                if not name.lower().endswith(IMAGE_SUFFIXES):
                    raise _Bad(f"of a type that is not read; use {', '.join(IMAGE_SUFFIXES)}")
                image, was_colour, was_resized = _decode(read(name), decode, resize)
            except _Bad as why:
                faults.add(f"{unit} {name}: {why}")
                continue
            converted += was_colour
            resized += was_resized
            images += image.tobytes()
            labels.append(label)
            usage.append(use)
            names.append(name.rsplit("/", 1)[-1])
    return _result(images, labels, usage, names, faults, split, converted, resized)


def _place_images(paths, faults: _Faults, unit: str) -> tuple[dict, str]:
    """{path: (usage, label)} and how the split was told: "official" (by file name) or "folders"."""
    found, roots, stray = {}, set(), []
    for path in paths:
        *root, parent = path.split("/")[:-1] or [""]
        usage = USAGE_FOLDERS.get(re.sub("[^a-z]", "", root[-1].lower())) if root else None
        label = EMOTION_FOLDERS.get(parent.strip().lower())
        why = f"{parent!r} is not a class folder; the valid ones are {', '.join(EMOTIONS)}"
        if label is None and usage:
            raise DataError(f"{faults.where}, {unit} {path}: {why}")
        if label is None:
            stray.append(f"{unit} {path}: {why}")
            continue
        while root and re.sub("[^a-z]", "", root[-1].lower()) in USAGE_FOLDERS:
            root.pop()
        found[path] = (usage, label)
        roots.add("/".join(root))
    if not found:
        raise DataError(f"{faults.where}: no class folders; {STRUCTURE}")
    for message in stray:
        faults.add(message)
    if len(roots) > 1:
        listed = ", ".join(repr(root or ".") for root in sorted(roots)[:5])
        raise DataError(f"{faults.where}: more than one copy of the data, below {listed}; give one")
    prefixes = [path.rsplit("/", 1)[-1].split("_")[0] for path in found]
    if set(prefixes) <= set(USAGES):
        both = zip(found.items(), prefixes, strict=True)
        return {path: (prefix, label) for (path, (_, label)), prefix in both}, "official"
    for path, (usage, _) in found.items():
        if usage is None:
            raise DataError(f"{faults.where}, {unit} {path}: no split folder above; {STRUCTURE}")
    return found, "folders"


def _read_file(path: Path, size: int) -> bytes:
    if size > MAX_IMAGE:
        raise _Bad(f"{size} bytes, which is implausible (at most {MAX_IMAGE} bytes)")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Bad(f"cannot be read ({error.strerror})") from None


@contextmanager
def _quiet_decoder():
    """Yields decode(bytes) -> (grey image or None, complaints).

    The C libraries below OpenCV print what they dislike straight to file descriptor 2, and that
    print is the only sign of a damaged JPEG, so it is caught for the length of each call.
    """
    import cv2

    with tempfile.TemporaryFile() as file:
        log, kept = file.fileno(), os.dup(2)

        def decode(data: bytes):
            os.dup2(log, 2)
            try:
                image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            except cv2.error:
                image = None
            finally:
                os.dup2(kept, 2)
            length = os.lseek(log, 0, os.SEEK_CUR)
            os.lseek(log, 0, os.SEEK_SET)
            complaints = os.read(log, length)
            os.lseek(log, 0, os.SEEK_SET)
            return image, complaints

        try:
            yield decode
        finally:
            os.close(kept)


def _decode(data: bytes, decode, resize: bool):
    """(grey image (48, 48), was colour, was resized)."""
    header = _image_header(data)
    if header is None:
        raise _Bad(f"not an image; expected a JPEG or PNG of {SIDE} x {SIDE} pixels")
    width, height, colour = header
    wrong = (width, height) != (SIDE, SIDE)
    if wrong and not resize:
        raise _Bad(
            f"{width} x {height} pixels, where {SIDE} x {SIDE} is right (resize=True scales)"
        )
    if width * height > MAX_DECODED:
        raise _Bad(f"{width} x {height} pixels, which is implausible")
    image, complaints = decode(data)
    if image is None or b"Corrupt" in complaints or b"Premature" in complaints:
        raise _Bad("not an image that can be decoded; it is damaged or cut short")
    if image.shape != (SIDE, SIDE):
        import cv2

        image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return image, colour, wrong


def _image_header(data: bytes) -> tuple[int, int, bool] | None:
    """(width, height, has colour) as a PNG or JPEG declares them, before anything is decoded."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) > 25:
        width, height = struct.unpack(">II", data[16:24])
        return width, height, data[25] not in (0, 4)
    at = 2 if data.startswith(b"\xff\xd8\xff") else len(data)
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height, data[at + 9] > 1
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
