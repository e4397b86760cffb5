"""The data as every other module sees it: load it from any form, select classes, split, count."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer_utils.base import EMOTIONS, SIDE, USAGES, DataError, StudyError, replacing, write_text
from fer_utils.data import readers
from fer_utils.data.rows import label_of

LOADER_VERSION = 3  # part of the cache's key: raise it whenever the same file gives other arrays
PROTOCOLS = ("official", "publictest", "holdout", "kaggle", "pooled")
KAGGLE = "msambare/fer2013"
ARRAYS = ("images", "labels", "usage", "names")
USUAL = {"split": "official", "converted": 0, "resized": 0, "bad_count": 0}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (n, 48, 48), labels uint8 (n,), usage and names str (n,), and provenance.

    A label is an index into `classes`. In `provenance` (JSON-serialisable) `counts` are those of
    this Dataset; everything else describes the source it was loaded from.
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    names: np.ndarray
    provenance: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<{len(self):,} images of {len(self.classes)} classes>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ...: all seven emotions unless classes were selected."""
        return tuple(self.provenance.get("classes", EMOTIONS))

    def take(self, index: np.ndarray) -> Dataset:
        """The images at these indices, or where this mask is true, in that order."""
        part = replace(self, **{name: getattr(self, name)[index] for name in ARRAYS})
        return replace(part, provenance={**self.provenance, "counts": _counts(part)})

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz that `load` reads, at once or not at all; its folder is made."""
        provenance = np.array(json.dumps(self.provenance))
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{n: getattr(self, n) for n in ARRAYS}, provenance=provenance)


def load(
    source: str | os.PathLike, on_bad: str = "error", *, resize: bool = False, cache: bool = True
) -> Dataset:
    """FER2013 from "synthetic[:n=5000,seed=0]", "kaggle[:owner/name]" or a path.

    A path leads to a table, class folders, an archive of these, or a saved .npz. The first bad row
    or image raises DataError; on_bad="skip" leaves such out and lists them in provenance.
    resize=True scales images that are not 48x48. With `cache`, what was parsed is kept in
    `cache_folder()`, keyed by the file's bytes.
    """
    if on_bad not in ("error", "skip"):
        raise DataError(f"on_bad is {on_bad!r}; it is 'error' or 'skip'")
    form = source.partition(":")[0] if isinstance(source, str) else ""
    folder = cache_folder() if cache else None
    if form == "synthetic":
        return _synthetic(source, folder)
    if source == "":
        raise DataError(f"no data given; give {readers.ACCEPTED}")
    place = readers.locate(_download(source) if form == "kaggle" else source)
    digest = _digest(place, folder)
    name = source if form == "kaggle" else place.name
    known = {"kind": place.kind, "source": name, "sha256": digest}
    if place.kind == "npz":
        saved = _read_npz(place.path)
        return _complete(saved, {"origin": saved.provenance.get("source"), **known})
    # Options that changed nothing share the plain entry.
    plain = f"{digest}-v{LOADER_VERSION}"
    options = plain + "-skip" * (on_bad == "skip") + "-resize" * resize
    for key in dict.fromkeys((plain, options)):
        if (kept := _kept(folder, key)) and kept.provenance.get("sha256") == digest:
            return replace(kept, provenance={**kept.provenance, **known})
    arrays, notes = readers.read(place, on_bad, resize)
    dataset = _complete(Dataset(**arrays), {**known, **notes})
    with suppress(DataError):  # not if the source changed while it was read
        if readers.locate(place.path).stamp == place.stamp:
            _keep(folder, options if notes["bad_count"] or notes["resized"] else plain, dataset)
    return dataset


def _synthetic(spec: str, folder: Path | None) -> Dataset:
    from fer_utils.data import synthetic

    options = {"n": 5000, "seed": 0}
    for item in filter(None, spec.partition(":")[2].split(",")):
        key, _, value = item.partition("=")
        if key.strip() not in options or not re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
            raise DataError(f"{spec}: {item!r} is unknown; write synthetic:n=5000,seed=0")
        options[key.strip()] = int(value)
    code = Path(synthetic.__file__).read_bytes()
    drawn_by = code + f"{np.__version__} {synthetic.cv2.__version__}".encode()
    key = "synthetic-{n}-{seed}-".format(**options) + hashlib.sha256(drawn_by).hexdigest()[:16]
    if kept := _kept(folder, key):
        return kept
    arrays, notes = synthetic.generate(**options)
    known = {"kind": "synthetic", "source": "synthetic:n={n},seed={seed}".format(**options)}
    dataset = _complete(Dataset(**arrays), {**known, **notes})
    dataset.provenance["sha256"] = dataset.provenance["pixels_sha256"]
    _keep(folder, key, dataset)
    return dataset


def _download(spec: str) -> str:
    handle = spec.partition(":")[2] or KAGGLE
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(/versions/\d+)?", handle):
        raise DataError(f"{spec}: {handle!r} names no Kaggle data set; write kaggle:owner/name")
    try:
        import kagglehub

        return kagglehub.dataset_download(handle)
    except Exception as error:  # whatever the client raises, the way out is the same
        raise DataError(
            f"{spec}: the download failed, perhaps there is no network ({type(error).__name__}); "
            f"download https://www.kaggle.com/datasets/{handle} by hand and give its path"
        ) from None


def _complete(dataset: Dataset, known: dict) -> Dataset:
    """The dataset with every key that provenance promises; `known` overrides its own."""
    found = {"pixels_sha256": pixels_sha256(dataset), "counts": _counts(dataset)}
    found["loader_version"] = LOADER_VERSION
    return replace(dataset, provenance={**USUAL, "bad": [], **dataset.provenance, **known, **found})


def _read_npz(path: Path) -> Dataset:
    """A saved Dataset; DataError for anything that `Dataset.save` does not write."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
            provenance = json.loads(str(file["provenance"])) if "provenance" in file else {}
        images, labels, usage, names = arrays.values()
        classes, n = provenance.get("classes", EMOTIONS), len(labels)
        rules = {
            "images": images.dtype == np.uint8 and images.shape == (n, SIDE, SIDE),
            "classes": 0 < len(set(classes)) == len(classes) and set(classes) <= set(EMOTIONS),
            "labels": labels.dtype.kind in "iu"
            and 0 <= labels.min() <= labels.max() < len(classes),
            "usage": usage.shape == (n,) and np.isin(usage, USAGES).all(),
            "names": names.dtype.kind == "U" and names.shape == (n,),
        }
        wrong = ", ".join(name for name, right in rules.items() if not right)
    except Exception as error:  # numpy's reader of damaged headers raises a dozen kinds
        wrong = str(error)[:80]
    if wrong:
        raise DataError(f"{path.name}: no saved Dataset ({wrong}); write it with Dataset.save")
    return Dataset(**arrays | {"labels": labels.astype(np.uint8)}, provenance=provenance)


# the cache


def cache_folder() -> Path | None:
    """$FER_CACHE, $XDG_CACHE_HOME/fer-study or ~/.cache/fer-study; None for a user without home."""
    if chosen := os.environ.get("FER_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "fer-study"
    except RuntimeError:  # no home
        return None


def _kept(folder: Path | None, key: str) -> Dataset | None:
    with suppress(DataError):  # not there, or damaged: it is made anew
        return _read_npz(folder / f"{key}.npz") if folder else None


def _keep(folder: Path | None, key: str, dataset: Dataset) -> None:
    with suppress(StudyError):  # a full or read-only disk costs time, not the data
        if folder:
            dataset.save(folder / f"{key}.npz")


def _digest(place: readers.Source, folder: Path | None) -> str:
    """sha256 of the content, remembered by path, size and time since hashing 300 MB takes long."""
    started, memo = time.time_ns(), None
    if folder:
        key = hashlib.sha256(os.fsencode(os.path.abspath(place.path))).hexdigest()
        memo = folder / f"{key}.txt"
        with suppress(OSError, ValueError):  # not there, or damaged: it is made anew
            stamp, digest = memo.read_text().split()
            if stamp == place.stamp and re.fullmatch("[0-9a-f]{64}", digest):
                return digest
    try:
        digest = place.digest()
    except OSError as error:
        raise DataError(f"{place.path}: cannot be read ({error.strerror})") from None
    # A file written this very moment can change again without its time showing it.
    if memo and started - max(time_ns for *_, time_ns in place.files) > 2e9:
        with suppress(StudyError):
            write_text(memo, f"{place.stamp} {digest}\n")
    return digest


# hashes and counts


def content_sha256(dataset: Dataset) -> str:
    """One hash over the arrays, in their order, whatever their source."""
    digest = hashlib.sha256()
    for array in (dataset.images, dataset.labels, dataset.usage.astype("S")):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def pixels_sha256(dataset: Dataset) -> str:
    """sha256 over the sorted digests of usage + label + pixels: the same for any order and form."""
    rows = zip(dataset.usage.tolist(), dataset.labels.tolist(), dataset.images, strict=True)
    digests = [hashlib.sha256(u.encode() + bytes([k]) + x.tobytes()).digest() for u, k, x in rows]
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    def count(usage):
        return np.bincount(dataset.labels[dataset.usage == usage], minlength=len(dataset.classes))

    return {u: dict(zip(dataset.classes, count(u).tolist(), strict=True)) for u in USAGES}


def describe(dataset: Dataset):
    """pandas.DataFrame of counts: a row for every class, a column for every usage, and totals."""
    import pandas as pd

    table = pd.DataFrame(_counts(dataset), index=list(dataset.classes), columns=list(USAGES))
    table["total"] = table.sum(axis=1)
    table.loc["total"] = table.sum()
    return table


def overview(dataset: Dataset) -> str:
    """One line: source, images, splits and classes with counts, where the splits come from."""
    table, source = describe(dataset), dataset.provenance
    splits, classes = table.loc["total"], table["total"]
    counts = ", ".join(f"{name} {n:,}" for name, n in splits.items() if n and name != "total")
    counts += "; " + ", ".join(f"{name} {n:,}" for name, n in classes.items() if name != "total")
    origin = source.get("split", "official")
    origin = "" if origin == "official" else f"; splits by {origin}"
    return f"{source.get('source')}: {len(dataset):,} images; {counts}{origin}"


# classes and splits


def select_classes(dataset: Dataset, classes: list[str] | tuple[str, ...]) -> Dataset:
    """Only these emotions (any spelling of a folder), labels renumbered in the order given."""
    wanted = []
    for name in [classes] if isinstance(classes, str) else classes:
        label = label_of(str(name))
        if label is None or EMOTIONS[label] not in dataset.classes:
            raise DataError(f"unknown class {name!r}; the data has {', '.join(dataset.classes)}")
        wanted.append(EMOTIONS[label])
    if not 0 < len(set(wanted)) == len(wanted):
        fault = "a class is given twice" if wanted else "no class given"
        raise DataError(f"{fault}; the data has {', '.join(dataset.classes)}")
    renumbered = np.full(len(dataset.classes), 255, np.uint8)
    renumbered[[dataset.classes.index(name) for name in wanted]] = np.arange(len(wanted))
    labels = renumbered[dataset.labels]
    provenance = {**dataset.provenance, "classes": wanted}
    return replace(dataset, labels=labels, provenance=provenance).take(labels != 255)


def split(
    dataset: Dataset, protocol: str, seed: int = 0, held_out: float = 0.1
) -> dict[str, np.ndarray]:
    """Sorted indices of "train", "validation" and "test" under a protocol.

    official: Training / PublicTest / PrivateTest; where there is no PublicTest, a stratified
    share `held_out` of Training validates. publictest (six-layer-2020): Training, and PublicTest as
    both validation and test. kaggle (Hejslet and Vetterstein): Training, and all the
    rest as both validation and test. pooled (Korchi): a stratified share of everything is both
    validation and test. holdout (engdata301): a stratified share of Training validates, PublicTest
    tests. DataError where the data lacks a part.
    """
    parts = {usage: np.flatnonzero(dataset.usage == usage) for usage in USAGES}
    parts["PublicTest or PrivateTest"] = np.flatnonzero(dataset.usage != "Training")

    def need(name):
        if not len(parts[name]):
            raise DataError(f"protocol {protocol!r} needs {name} images; there are none")
        return parts[name]

    if protocol not in PROTOCOLS:
        raise DataError(f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    if protocol == "pooled":
        train, test = _stratified(dataset, np.arange(len(dataset)), seed, held_out)
        return {"train": train, "validation": test, "test": test}
    train = need("Training")
    tested = {"official": "PrivateTest", "kaggle": "PublicTest or PrivateTest"}
    validation = test = need(tested.get(protocol, "PublicTest"))
    if protocol == "official":
        validation = parts["PublicTest"]
    if protocol == "holdout" or not len(validation):
        train, validation = _stratified(dataset, train, seed, held_out)
    return {"train": train, "validation": validation, "test": test}


def _stratified(dataset, index, seed, held_out):
    from sklearn.model_selection import train_test_split

    try:
        rest, part = train_test_split(
            index, test_size=held_out, stratify=dataset.labels[index], random_state=seed
        )
    except ValueError as error:
        raise DataError(f"{held_out} of {len(index)} images cannot be held out: {error}") from None
    return np.sort(rest), np.sort(part)
