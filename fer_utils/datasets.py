"""The data as every other module sees it: load it from any form, select classes, split, count."""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer_utils import sources
from fer_utils.cache import ARRAYS, cache_folder, cached, read_npz, source_digest, store, write_npz
from fer_utils.fer2013 import EMOTIONS, USAGES, DataError
from fer_utils.images import EMOTION_FOLDERS

__all__ = ["EMOTIONS", "PROTOCOLS", "USAGES", "DataError", "Dataset"]
__all__ += ["content_sha256", "describe", "load", "pixels_sha256", "select_classes", "split"]

LOADER_VERSION = 1  # part of the cache's key: raise it whenever the same file gives other arrays
PROTOCOLS = ("official", "publictest", "holdout", "kaggle", "pooled")
KAGGLE = "msambare/fer2013"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (n, 48, 48), labels uint8 (n,), usage and names str (n,), and provenance.

    A label is an index into `classes`. In `provenance` (JSON-serialisable) `counts` are those of
    this Dataset; everything else tells of the source it was loaded from.
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

    def take(self, index: np.ndarray) -> "Dataset":
        """The images at these indices, or where this mask is true, in that order."""
        part = replace(self, **{name: array[index] for name, array in self._arrays().items()})
        return replace(part, provenance={**self.provenance, "counts": _counts(part)})

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz that `load` reads, at once or not at all; its folder is made."""
        write_npz(Path(path), self._arrays(), self.provenance)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ARRAYS}


def load(
    source: str | os.PathLike, on_bad: str = "error", *, resize: bool = False, cache: bool = True
) -> Dataset:
    """FER2013 from "synthetic[:n=5000,seed=0]", "kaggle[:owner/name]" or a path.

    A path leads to fer2013.csv, icml_face_data.csv, a zip, class folders or a saved .npz. The
    first bad row or image raises DataError; on_bad="skip" leaves such out and lists them in
    provenance. resize=True scales images that are not 48x48. With `cache`, what was parsed is kept
    under $FER_CACHE, $XDG_CACHE_HOME/fer-study or ~/.cache/fer-study, keyed by the file's bytes.
    """
    if on_bad not in ("error", "skip"):
        raise DataError(f"on_bad is {on_bad!r}; it is 'error' or 'skip'")
    form = source.partition(":")[0] if isinstance(source, str) else ""
    if form == "synthetic":
        return _synthetic(source, cache_folder() if cache else None)
    if source == "":
        raise DataError(f"no data given; give {sources.ACCEPTED}")
    place = sources.locate(_download(source) if form == "kaggle" else source)
    name = source if form == "kaggle" else place.name
    folder = cache_folder() if cache else None
    digest = source_digest(place, folder)
    told = {"kind": place.kind, "source": name, "sha256": digest}
    if place.kind == "npz":
        arrays, saved = read_npz(place.path)
        known = {**saved, "origin": saved.get("source")}
        return _with_provenance(Dataset(**arrays, provenance=saved), known, told)
    # Options that changed nothing share the plain entry.
    plain = f"{digest}-v{LOADER_VERSION}"
    options = plain + "-skip" * (on_bad == "skip") + "-resize" * resize
    for key in dict.fromkeys((plain, options)):
        found = cached(folder, key, digest)
        if found:
            arrays, saved = found
            return Dataset(**arrays, provenance={**saved, **told})
    arrays, notes = sources.parse(place, on_bad, resize)
    dataset = _with_provenance(Dataset(**arrays), {}, {**told, **notes})
    unused = not dataset.provenance["bad_count"] and not dataset.provenance["resized"]
    store(folder, plain if unused else options, place, arrays, dataset.provenance)
    return dataset


def _synthetic(spec: str, folder: Path | None) -> Dataset:
    from fer_utils import faces, synthetic

    options = {"n": 5000, "seed": 0}
    for item in filter(None, spec.partition(":")[2].split(",")):
        key, _, value = item.partition("=")
        if key.strip() not in options or not re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
            raise DataError(f"{spec}: {item!r} is unknown; write synthetic:n=5000,seed=0")
        options[key.strip()] = int(value)
    code = b"".join(Path(module.__file__).read_bytes() for module in (faces, synthetic))
    drawn_by = code + f"{np.__version__} {faces.cv2.__version__}".encode()
    key = "synthetic-{n}-{seed}-".format(**options) + hashlib.sha256(drawn_by).hexdigest()[:16]
    if folder:
        with contextlib.suppress(DataError):  # not there, or damaged: it is drawn anew
            arrays, saved = read_npz(folder / f"{key}.npz")
            return Dataset(**arrays, provenance=saved)
    dataset = synthetic.generate(**options)
    told = {"kind": "synthetic", "source": "synthetic:n={n},seed={seed}".format(**options)}
    done = _with_provenance(dataset, dataset.provenance, told)
    provenance = {**done.provenance, "sha256": done.provenance["pixels_sha256"]}
    if folder:
        with contextlib.suppress(OSError, DataError):  # a full disk costs time, not the data
            write_npz(
                folder / f"{key}.npz", {name: getattr(done, name) for name in ARRAYS}, provenance
            )
    return replace(done, provenance=provenance)


def _download(spec: str) -> str:
    handle = spec.partition(":")[2] or KAGGLE
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(/versions/\d+)?", handle):
        raise DataError(f"{spec}: {handle!r} names no Kaggle data set; write kaggle:owner/name")
    try:
        import kagglehub

        return kagglehub.dataset_download(handle)
    except Exception as error:  # whatever the client raises, the way out is the same
        why = type(error).__name__
        page = f"https://www.kaggle.com/datasets/{handle}"
        raise DataError(
            f"{spec}: the download failed, perhaps there is no network ({why}); "
            f"download {page} by hand and give its path"
        ) from None


def _with_provenance(dataset: Dataset, known: dict, told: dict) -> Dataset:
    """The dataset with every key that provenance promises; `told` overrides `known`."""
    usual = {"split": "official", "converted": 0, "resized": 0, "bad": [], "bad_count": 0}
    found = {
        "pixels_sha256": pixels_sha256(dataset),
        "counts": _counts(dataset),
        "loader_version": LOADER_VERSION,
    }
    return replace(dataset, provenance={**usual, **known, **told, **found})


def content_sha256(dataset: Dataset) -> str:
    """One hash over the arrays that are held, in their order, whatever their source says."""
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


# classes and splits


def select_classes(dataset: Dataset, classes: list[str] | tuple[str, ...]) -> Dataset:
    """Only these emotions (any spelling of a folder), labels renumbered in the order given."""
    wanted = []
    for name in [classes] if isinstance(classes, str) else classes:
        label = EMOTION_FOLDERS.get(str(name).strip().lower())
        if label is None or EMOTIONS[label] not in dataset.classes:
            raise DataError(f"unknown class {name!r}; the data has {', '.join(dataset.classes)}")
        if EMOTIONS[label] in wanted:
            raise DataError(f"class {name!r} is given twice")
        wanted.append(EMOTIONS[label])
    if not wanted:
        raise DataError(f"no class given; the data has {', '.join(dataset.classes)}")
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
    parts["kaggle"] = np.flatnonzero(dataset.usage != "Training")

    def need(name, shown=None):
        if not len(parts[name]):
            raise DataError(f"protocol {protocol!r} needs {shown or name} images; there are none")
        return parts[name]

    if protocol == "pooled":
        train, validation = _stratified(dataset, np.arange(len(dataset)), seed, held_out)
        return {"train": train, "validation": validation, "test": validation}
    if protocol not in PROTOCOLS:
        raise DataError(f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    train = need("Training")
    if protocol == "kaggle":
        rest = need("kaggle", "PublicTest or PrivateTest")
        return {"train": train, "validation": rest, "test": rest}
    test = need("PrivateTest" if protocol == "official" else "PublicTest")
    if protocol == "publictest":
        return {"train": train, "validation": test, "test": test}
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


def describe(dataset: Dataset):
    """pandas.DataFrame of counts: a row for every class, a column for every usage, and totals."""
    import pandas as pd

    table = pd.DataFrame(_counts(dataset), index=list(dataset.classes), columns=list(USAGES))
    table["total"] = table.sum(axis=1)
    table.loc["total"] = table.sum()
    return table
