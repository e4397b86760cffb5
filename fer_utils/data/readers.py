"""FER2013 in the forms people have it: tables and class folders, bare or archived, to arrays."""

# The input is untrusted: nothing is extracted or unpickled, sizes are checked before anything is
# decoded, and every fault is a DataError of one line that names the file and the row or member.

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fer_utils.base import DataError
from fer_utils.data import rows
from fer_utils.data.rows import EMOTION_FOLDERS as EMOTION_FOLDERS
from fer_utils.data.rows import MAX_IMAGE, STRUCTURE, Bad

ACCEPTED = (
    "fer2013.csv, icml_face_data.csv, the Kaggle .zip, the challenge's fer2013.tar.gz, a .parquet "
    f"file, a saved .npz, or a folder of {rows.FOLDERS}"
)
TABLE = re.compile(r"(.*/)?(fer2013|icml_face_data)( ?\(\d+\))?\.csv(\.gz|\.bz2|\.xz)?", re.I)
OTHERS = tuple(".csv .tsv .gz .bz2 .xz .tgz .tar .zip .npz .parquet .7z .rar".split())
MAX_LISTED = 50  # messages of one load
DAMAGE = (
    OSError, EOFError, RuntimeError, ValueError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where data is: kind (csv, zip, tar, parquet, folder, npz), path, (name, size, mtime_ns)s."""

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
        if path.is_dir():
            return _locate_in(path)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path}: neither a file nor a folder; give {ACCEPTED}")
        if not found.st_size:
            raise DataError(f"{path}: the file is empty; give {ACCEPTED}")
        return Source(_kind(path), path, ((path.name, found.st_size, found.st_mtime_ns),))
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder; give {ACCEPTED}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (TypeError, RuntimeError, ValueError):
        raise DataError(f"{path!r} is not a path; give {ACCEPTED}") from None


def _locate_in(folder: Path) -> Source:
    found = sorted(_walk(folder))
    tables, images, frames, others = _data(name for name, *_ in found)
    if tables:
        return locate(folder / tables[0])
    data = {*(images or frames)}
    if not data:
        hint = (
            f" but {', '.join(others[:5])}: give the path of the right one, as " if others else ""
        )
        hint += str(folder / others[0]) if others else ""
        raise DataError(f"{folder}: the folder holds no images{hint}; {STRUCTURE}")
    return Source("folder", folder, tuple(file for file in found if file[0] in data))


def _kind(path: Path) -> str:
    """What a file is by its content, or by its suffix where that shows nothing."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    suffix = path.suffix.lower().removeprefix(".")
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise DataError(f"{path}: a web page, not the data; log in there and download again")
    if zipfile.is_zipfile(path):
        return "npz" if suffix == "npz" else "zip"
    if head.startswith(b"PAR1"):
        return "parquet"
    with suppress(*DAMAGE):
        if tarfile.is_tarfile(path):
            return "tar"
    if suffix in ("csv", "zip", "npz", "tar", "parquet"):
        return suffix
    if head.startswith(tuple(rows.COMPRESSED)) or b"pixels" in head.lower():
        return "csv"
    raise DataError(f"{path}: files of type {path.suffix!r} are not read; give {ACCEPTED}")


def _walk(path: Path) -> Iterator[tuple[str, int, int]]:
    """(relative path, size, mtime_ns) of the files below a folder, also below linked ones."""

    def fail(error):
        raise error

    for folder, below, names in os.walk(path, onerror=fail, followlinks=True):
        above = map(os.path.realpath, Path(folder).absolute().parents)
        if os.path.realpath(folder) in above:  # a link that leads back up
            below.clear()
            continue
        for name in names:
            place = Path(folder, name)
            # a dangling link is reported when it is read
            found = place.stat() if os.path.exists(place) else None
            if found is None or stat.S_ISREG(found.st_mode):
                times = (found.st_size, found.st_mtime_ns) if found else (0, 0)
                yield place.relative_to(path).as_posix(), *times


def _data(names) -> tuple[list, list, list, list]:
    """Known tables (best first), images, parquet files and other data among the names of files."""
    names = sorted(name for name in names if not rows.is_junk(name))
    tables = [name for name in names if TABLE.fullmatch(name)]
    tables.sort(key=lambda name: ("icml" in name.rpartition("/")[2].lower(), name.count("/")))
    images = [name for name in names if rows.is_image(name)]
    frames = [name for name in names if name.lower().endswith(".parquet")]
    return tables, images, frames, [name for name in names if name.lower().endswith(OTHERS)]


def read(source: Source, on_bad: str, resize: bool) -> tuple[dict, dict]:
    """(arrays images, labels, usage, names; notes on the reading for the provenance)."""
    notes = {"split": "official", "converted": 0, "resized": 0, "bad": [], "bad_count": 0}
    kept = []
    try:
        for where, row in _rows(source, notes, resize):
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
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{source.path}: cannot be read, damaged or truncated ({why})") from None
    images, labels, usage, names = map(np.array, zip(*kept, strict=True))
    if {*usage} == {"Training", "PublicTest"}:
        usage = np.where(usage == "Training", "Training", "PrivateTest")
        notes["split"] += "; no test split: validation is the test split, part of train validates"
    arrays = {"images": images, "labels": labels.astype(np.uint8), "usage": usage, "names": names}
    return arrays, notes


def _rows(source: Source, notes: dict, resize: bool) -> Iterator:
    """(where, a call that gives image, label, usage and name or raises Bad) of each image."""
    with ExitStack() as stack:
        if source.kind in ("csv", "parquet"):
            stream = stack.enter_context(open(source.path, "rb"))
            if source.kind == "csv":
                yield from rows.table(stream)
            else:
                yield from rows.frame(source.name, stream, notes, resize)
            return
        if source.kind == "folder":
            found = {name: (size, source.path / name) for name, size, _ in source.files}
            opened = partial(open, mode="rb")
        elif source.kind == "zip":
            archive = stack.enter_context(zipfile.ZipFile(source.path))
            members = [info for info in archive.infolist() if not info.is_dir()]
            found = {i.filename.replace("\\", "/"): (i.file_size, i) for i in members}
            opened = archive.open
        else:
            archive = stack.enter_context(tarfile.open(source.path))
            found = {m.name.removeprefix("./"): (m.size, m) for m in archive if m.isfile()}
            opened = archive.extractfile

        def content(name):
            with opened(found[name][1]) as stream:
                return stream.read()

        tables, images, frames, others = _data(found)
        if not (tables or images or frames):
            tables = [name for name in others if name.lower().endswith(".csv")]
            if len(tables) != 1:
                hint = (
                    f" but {', '.join(others[:5])}: extract it and give its path" if others else ""
                )
                raise Bad(f"the {source.kind} holds no images{hint}; {STRUCTURE}")
        if tables:
            table = tables[0]
            with opened(found[table][1]) as stream:
                for where, row in rows.table(io.BufferedReader(stream, 2**20)):
                    yield f"member {table}, {where}", row
        elif images:
            sizes = {name: found[name][0] for name in images}
            if source.kind == "tar":  # in the archive's order: a compressed one goes back slowly
                fit = [name for name in found if sizes.get(name, MAX_IMAGE + 1) <= MAX_IMAGE]
                content = {name: content(name) for name in fit}.get
            yield from rows.images(sizes, content, notes, resize)
        else:
            for name in frames:
                for where, row in rows.frame(name, io.BytesIO(content(name)), notes, resize):
                    yield f"{name}, {where}", row
