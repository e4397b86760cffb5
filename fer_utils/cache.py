"""Arrays kept in .npz files: saved data, and a cache of parsed data keyed by the source's bytes."""

import glob
import hashlib
import json
import os
import re
import secrets
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from fer_utils import sources
from fer_utils.fer2013 import EMOTIONS, SIDE, USAGES, DataError

ARRAYS = ("images", "labels", "usage", "names")


def write_npz(path: Path, arrays: dict, provenance: dict) -> None:
    """Write an .npz at once or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays, provenance=np.array(json.dumps(provenance)))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{path.suffix}"):
        with suppress(OSError):  # of a process that was killed, a day ago or more
            if left.stat().st_mtime < time.time() - 24 * 3600:
                left.unlink()
    # not the process' number: machines that share a home have the same ones
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_npz(path: Path) -> tuple[dict, dict]:
    """The checked (arrays, provenance); DataError for anything that `write_npz` does not write."""
    hint = "write it with Dataset.save"
    try:
        with zipfile.ZipFile(path) as archive:
            if any(info.file_size > sources.MAX_CSV for info in archive.infolist()):
                raise DataError(f"{path.name}: an array of over {sources.MAX_CSV} bytes; {hint}")
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ARRAYS if name not in file]
            if missing:
                found = ", ".join(file.files)[:200]
                raise DataError(f"{path.name}: no array {missing[0]!r} (found: {found}); {hint}")
            arrays = {name: np.asarray(file[name]) for name in ARRAYS}
            provenance = json.loads(str(file["provenance"])) if "provenance" in file else {}
    except DataError:
        raise
    except Exception as error:  # numpy's reader of damaged headers raises a dozen kinds
        raise DataError(
            f"{path.name}: not an .npz of plain arrays ({str(error)[:80]}); {hint}"
        ) from None
    images, labels, usage, names = arrays.values()
    n = len(labels) if labels.ndim == 1 else 0
    if images.dtype != np.uint8 or images.shape != (n, SIDE, SIDE) or not n:
        right = "uint8 (n, 48, 48) with one label for each is right"
        raise DataError(f"{path.name}: images are {images.dtype} {images.shape}, where {right}")
    classes = provenance.get("classes", EMOTIONS) if isinstance(provenance, dict) else None
    known = isinstance(classes, list | tuple) and all(name in EMOTIONS for name in classes)
    if not known or not 0 < len(classes) == len(set(classes)):
        raise DataError(f"{path.name}: its provenance does not name emotions; {hint}")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path.name}: labels are not whole numbers from 0 to {len(classes) - 1}")
    if usage.dtype.kind != "U" or usage.shape != (n,) or not np.isin(usage, USAGES).all():
        raise DataError(f"{path.name}: usage is not one of {', '.join(USAGES)} for every image")
    if names.dtype.kind != "U" or names.shape != (n,):
        raise DataError(f"{path.name}: names are not one text for every image")
    return {**arrays, "labels": labels.astype(np.uint8)}, provenance


def cache_folder() -> Path | None:
    """$FER_CACHE, $XDG_CACHE_HOME/fer-study or ~/.cache/fer-study; None for a user without home."""
    chosen = os.environ.get("FER_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "fer-study"
    except RuntimeError:  # no home
        return None


def source_digest(place: sources.Place, folder: Path | None) -> str:
    """sha256 of the content, remembered by path, size and time since hashing 300 MB takes long."""
    started = time.time_ns()
    memo = None
    if folder:
        key = hashlib.sha256(os.fsencode(os.path.abspath(place.path))).hexdigest()
        memo = folder / f"{key}.txt"
        try:
            stamp, digest = memo.read_text().split()
            if stamp == place.stamp and re.fullmatch("[0-9a-f]{64}", digest):
                return digest
        except (OSError, ValueError):  # not there, or damaged: it is made anew
            pass
    try:
        digest = sources.digest(place)
    except OSError as error:
        raise DataError(f"{place.path}: cannot be read ({error.strerror})") from None
    # A file written this very moment can change again without its time showing it.
    if memo and started - max(time_ns for _, _, time_ns in place.files) > 2e9:
        try:
            with replacing(memo) as temporary:
                temporary.write_text(f"{place.stamp} {digest}\n")
        except OSError:
            pass
    return digest


def cached(folder: Path | None, key: str, digest: str) -> tuple[dict, dict] | None:
    """The (arrays, provenance) stored under `key` for a source of this digest."""
    if folder is None:
        return None
    try:
        arrays, provenance = read_npz(folder / f"{key}.npz")
    except DataError:  # not there, or damaged: it is made anew
        return None
    return (arrays, provenance) if provenance.get("sha256") == digest else None


def store(
    folder: Path | None, key: str, place: sources.Place, arrays: dict, provenance: dict
) -> None:
    """Keep what was parsed from `place` under `key`, where that is possible."""
    try:
        # Not if the source changed while it was read: the key would not be that of the arrays.
        if folder and sources.locate(place.path).stamp == place.stamp:
            write_npz(folder / f"{key}.npz", arrays, provenance)
    except (OSError, DataError):  # a full or read-only disk costs time, not the data
        pass
