"""The forms in which people have FER2013, found and read: a CSV, a zip, a folder of images."""

# The input is untrusted: nothing is extracted or unpickled, sizes are checked before anything is
# decoded, and every fault is a DataError of one line that names the file and the row or member.

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_utils.fer2013 import SIDE, Bad, DataError, Faults
from fer_utils.images import IMAGE_SUFFIXES, STRUCTURE, parse_images
from fer_utils.tables import CSV_NAMES, parse_rows

ACCEPTED = (
    "fer2013.csv, icml_face_data.csv, the Kaggle .zip, an .npz written by Dataset.save, "
    "or a folder of train|validation|test/<emotion>/*.jpg or .png"
)
OTHER_IMAGES = (".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

MAX_IMAGE = 2**20  # bytes of one image file
MAX_CSV = 2**30
MAX_RATIO = 100  # FER2013 packs 1:1 as JPEG and 3:1 as CSV
ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OSError,
)


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
    base = {name: name.lower().rsplit("/", 1)[-1] for name in names}
    tables = [(CSV_NAMES.index(base[n]), n.count("/"), n) for n in base if base[n] in CSV_NAMES]
    return min(tables)[-1] if tables else None


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
    """(arrays images, labels, usage, names; what to note in the provenance)."""
    faults = Faults(place.name, on_bad)
    try:
        if place.kind == "csv":
            with open(place.path, "rb") as stream:
                rows, notes = parse_rows(stream, place.files[0][1], faults)
        elif place.kind == "zip":
            rows, notes = _parse_zip(place.path, faults, resize)
        else:
            rows, notes = _parse_folder(place, faults, resize)
    except OSError as error:
        raise DataError(f"{place.path}: cannot be read ({error.strerror or error})") from None
    images, labels, usage, names = rows
    if not labels:
        why = f"all {faults.count} are bad, the first: {faults.messages[0]}"
        raise DataError(f"{faults.where}: no usable rows or images; {why}")
    arrays = {
        "images": np.frombuffer(images, np.uint8).reshape(-1, SIDE, SIDE),
        "labels": np.array(labels, np.uint8),
        "usage": np.array(usage),
        "names": np.array(names),
    }
    return arrays, notes | {"bad": faults.messages, "bad_count": faults.count}


def _parse_folder(place: Place, faults: Faults, resize: bool):
    sizes = {name: size for name, size, _ in place.files}

    def read(name):
        if sizes[name] > MAX_IMAGE:
            raise Bad(f"{sizes[name]} bytes, which is implausible (at most {MAX_IMAGE} bytes)")
        try:
            return (place.path / name).read_bytes()
        except OSError as error:
            raise Bad(f"cannot be read ({error.strerror})") from None

    return parse_images(sizes, read, faults, resize)


def _parse_zip(path: Path, faults: Faults, resize: bool):
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

        return parse_images(sorted(members), read, faults, resize, "member")


def _check_size(info: zipfile.ZipInfo, limit: int) -> None:
    packed = max(info.compress_size, 1)
    bomb = info.file_size > limit // 10 and info.file_size > MAX_RATIO * packed
    if info.file_size > limit or bomb:
        raise Bad(
            f"declares {info.file_size} bytes packed in {info.compress_size}, which is implausible "
            f"(at most {limit} bytes, at most {MAX_RATIO} to 1)"
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Bad("packed by an unusual method; zip it anew with deflate")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_size(info, MAX_IMAGE)
    try:
        # zipfile stops at the declared size; a longer stream then fails its checksum
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
    except ZIP_FAULTS as error:
        raise Bad(f"damaged in the zip ({error})") from None
    if len(data) != info.file_size:
        raise Bad(f"holds {len(data)} bytes where the zip declares {info.file_size}")
    return data


def _parse_zipped_csv(archive: zipfile.ZipFile, info: zipfile.ZipInfo, faults: Faults):
    faults.where = f"{faults.where}, member {info.filename}"
    try:
        _check_size(info, MAX_CSV)
        with archive.open(info) as member, io.BufferedReader(member, 2**20) as stream:
            return parse_rows(stream, info.file_size, faults)
    except Bad as error:
        raise DataError(f"{faults.where}: {error}") from None
    except DataError:
        raise
    except ZIP_FAULTS as error:
        raise DataError(f"{faults.where}: damaged in the zip ({error})") from None
