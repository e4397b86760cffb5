"""Data quality: duplicates, leakage between splits, constant images, pixel statistics."""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd

from fer_utils.base import USAGES, DataError
from fer_utils.data.dataset import Dataset


def image_digests(images: np.ndarray) -> np.ndarray:
    """128-bit BLAKE2b digest of each image's bytes, in hexadecimal, S32 (n,).

    Raises DataError unless the images are uint8: equal pictures of other types have other bytes.
    """
    if images.dtype != np.uint8:
        raise DataError(f"duplicates are compared on uint8 images, not {images.dtype}")
    rows = np.ascontiguousarray(images)
    return np.array([hashlib.blake2b(row, digest_size=16).hexdigest() for row in rows], "S32")


def duplicate_groups(dataset: Dataset) -> pd.DataFrame:
    """One row per group of byte-identical images, in the order of their first member.

    Columns: group (id from 0), size, indices (list, ascending), splits (list, in the order of
    USAGES), labels (list of the distinct labels, ascending), conflicting (more than one label).
    """
    groups = pd.Series(np.arange(len(dataset))).groupby(image_digests(dataset.images), sort=False)
    rows = []
    for members in (found.to_list() for _, found in groups if len(found) > 1):
        labels = np.unique(dataset.labels[members]).tolist()
        splits = [usage for usage in USAGES if usage in dataset.usage[members]]
        rows.append((len(rows), len(members), members, splits, labels, len(labels) > 1))
    columns = ["group", "size", "indices", "splits", "labels", "conflicting"]
    return pd.DataFrame(rows, columns=columns).astype({"size": int, "conflicting": bool})


def duplicate_summary(dataset: Dataset) -> dict[str, int]:
    """Counts of duplicate groups and copies, and of held-out images that occur in Training."""
    groups = duplicate_groups(dataset)
    leaked = dataset.usage[in_training(dataset)]
    return {
        "groups": len(groups),
        "surplus_copies": int((groups["size"] - 1).sum()),
        "spanning_groups": int((groups["splits"].map(len) > 1).sum()),
        "conflicting_groups": int(groups["conflicting"].sum()),
        "public_in_training": int((leaked == "PublicTest").sum()),
        "private_in_training": int((leaked == "PrivateTest").sum()),
    }


def in_training(dataset: Dataset) -> np.ndarray:
    """Images outside Training whose bytes also occur in Training, bool (n,)."""
    training = dataset.usage == "Training"
    found = np.zeros(len(dataset), bool)
    found[~training] = in_reference(dataset.images[~training], dataset.images[training])
    return found


def in_reference(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Images that occur byte for byte among the reference images, bool (n,)."""
    return np.isin(image_digests(images), image_digests(reference))


def unwanted(images: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Images to leave out of a training, bool (n,): "constant" ones, "copies" of earlier ones."""
    found = np.zeros(len(images), bool)
    if "constant" in kinds:
        found |= constant_images(images)
    if "copies" in kinds:
        found |= pd.Series(image_digests(images)).duplicated().to_numpy()
    return found


def constant_images(images: np.ndarray, tolerance: int = 4) -> np.ndarray:
    """Images whose pixels differ by at most tolerance grey levels, bool (n,).

    FER2013 has 12 black ones and a blank grey JPEG (127 to 130), and nothing else under 47.
    """
    return images.max(axis=(1, 2)) - images.min(axis=(1, 2)) <= tolerance


def black_images(images: np.ndarray) -> np.ndarray:
    """Images whose pixels are all zero, bool (n,)."""
    return ~images.any(axis=(1, 2))


def image_statistics(images: np.ndarray) -> pd.DataFrame:
    """Pixel statistics, one row per uint8 image.

    Columns: brightness (mean, 0 to 255), contrast (standard deviation), sharpness (variance of
    the 3x3 Laplacian: low is blurred, very high is noise), minimum, maximum.
    """
    rows = []
    for image in images:
        mean, deviation = cv2.meanStdDev(image)
        edges = cv2.meanStdDev(cv2.Laplacian(image, cv2.CV_32F))[1].item() ** 2
        rows.append((mean.item(), deviation.item(), edges, image.min(), image.max()))
    return pd.DataFrame(rows, columns="brightness contrast sharpness minimum maximum".split())


def extremes(statistics: pd.DataFrame, column: str, k: int, *, highest: bool = False) -> np.ndarray:
    """Index labels of the k rows lowest (or highest) in a column, most extreme first.

    Lowest sharpness lists blurred images, highest noisy ones.
    """
    ordered = statistics[column].sort_values(ascending=not highest, kind="stable")
    return ordered.index.to_numpy()[:k]


def mean_faces(dataset: Dataset) -> np.ndarray:
    """Mean image of each class, float32 (classes, 48, 48); NaN for a class without images."""
    faces = np.full((len(dataset.classes), *dataset.images.shape[1:]), np.nan, np.float32)
    for label in np.unique(dataset.labels):
        faces[label] = dataset.images[dataset.labels == label].mean(axis=0)
    return faces


def summary(dataset: Dataset) -> pd.DataFrame:
    """The checks of this module as a table: check, count, meaning.

    Rows left out, converted and resized are the loader's counts over the whole source.
    """
    counts = duplicate_summary(dataset)
    source, constant = dataset.provenance, int(constant_images(dataset.images).sum())
    leaked = "seen in training, so no test of a model that memorises"
    rows = [
        ("images", len(dataset), "each with a label and 48x48 grey pixels"),
        ("bad rows left out", source.get("bad_count", 0), "no valid label, pixels or usage"),
        ("converted", source.get("converted", 0), "stored in colour, made grey on loading"),
        ("resized", source.get("resized", 0), "stored in another size, scaled on loading"),
        ("constant", constant, "pixels within 4 grey levels: no face in it"),
        ("black", int(black_images(dataset.images).sum()), "constant, with every pixel zero"),
        ("duplicate groups", counts["groups"], "sets of images that are equal byte for byte"),
        ("surplus copies", counts["surplus_copies"], "images beyond the first of each group"),
        ("groups across splits", counts["spanning_groups"], "copies in two or more splits"),
        ("groups with conflicting labels", counts["conflicting_groups"], "some label is wrong"),
        ("PublicTest images in Training", counts["public_in_training"], leaked),
        ("PrivateTest images in Training", counts["private_in_training"], leaked),
    ]
    return pd.DataFrame(rows, columns=["check", "count", "meaning"])
