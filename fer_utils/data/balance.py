"""Strategies for unbalanced training data; each is decided by its seed alone."""

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

STRATEGIES = ("none", "class_weights", "oversample", "undersample", "augment")


@dataclass(frozen=True)
class Balanced:
    """Training data after a strategy; row i was made from input row source[i]."""

    images: np.ndarray  # uint8 (n, 48, 48)
    labels: np.ndarray  # uint8 (n,)
    source: np.ndarray  # int (n,)
    augmented: np.ndarray  # bool (n,), True where the pixels were changed
    weights: dict[int, float] | None  # per class, for Keras' class_weight


def class_weights(labels: np.ndarray, n_classes: int) -> dict[int, float]:
    """scikit-learn's "balanced" weights n / (classes * count); an absent class weighs 0.

    Only the classes that occur are counted. Raises ValueError for a label of n_classes or more.
    """
    from sklearn.utils.class_weight import compute_class_weight

    present = np.unique(labels)
    if present.size and present[-1] >= n_classes:
        raise ValueError(f"label {present[-1]} does not fit n_classes={n_classes}")
    weights = compute_class_weight("balanced", classes=present, y=labels)
    by_class = dict(zip(present.tolist(), weights.tolist(), strict=True))
    return {label: by_class.get(label, 0.0) for label in range(n_classes)}


def sampled(labels: np.ndarray, strategy: str, seed: int = 0) -> np.ndarray:
    """Indices (int) that make classes equal: "oversample" repeats up to the largest, after all the
    originals; "undersample" leaves as many as the smallest has, ascending.
    """
    from imblearn import over_sampling, under_sampling

    over = strategy == "oversample"
    kind = over_sampling.RandomOverSampler if over else under_sampling.RandomUnderSampler
    sampler = kind(random_state=seed)
    sampler.fit_resample(np.arange(len(labels))[:, None], labels)
    return sampler.sample_indices_ if over else np.sort(sampler.sample_indices_)


def augment_face(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A changed copy of a face, uint8 (48, 48), by hejslet-vetterstein's section 3.

    In their order: rotation within 15 degrees, flip with p 0.5, zoom 0.95 to 1.08, contrast 0.9
    to 1.1 and brightness within 8, Gaussian noise of sigma 3 with p 0.3. The paper does not say
    how a zoomed face gets back to its size, nor how values become pixels: here it is cut at the
    centre or padded by reflection as in the rotation, and rounded and clipped once, at the end.
    """
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), 1.0)
    out = cv2.warpAffine(
        image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    if rng.random() < 0.5:
        out = cv2.flip(out, 1)
    zoom = rng.uniform(0.95, 1.08)
    size = int(width * zoom), int(height * zoom)
    out = _fit(cv2.resize(out, size, interpolation=cv2.INTER_LINEAR), height, width)
    out = rng.uniform(0.9, 1.1) * out.astype(np.float32) + rng.uniform(-8, 8)
    if rng.random() < 0.3:
        out += rng.normal(0, 3, out.shape).astype(np.float32)
    return np.rint(out).clip(0, 255).astype(np.uint8)


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image cut at the centre, or padded by reflection, to height x width."""
    down, right = height - image.shape[0], width - image.shape[1]
    top, left = abs(down) // 2, abs(right) // 2
    if down < 0 or right < 0:
        return image[top : top + height, left : left + width]
    return np.pad(image, ((top, down - top), (left, right - left)), mode="reflect")


def plan(labels: np.ndarray, strategy: str, target: int = 5000) -> pd.DataFrame:
    """What a strategy does to each class that occurs: class, before, after, kept, added.

    kept counts the originals that stay, added the repeats or augmented copies. Only "augment"
    uses target; "oversample" goes up to the largest class, "undersample" down to the smallest.
    Raises ValueError for an unknown strategy, a target below 1, or no labels.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; valid: {', '.join(STRATEGIES)}")
    if target < 1:
        raise ValueError(f"target must be 1 or more images a class, not {target}")
    if len(labels) == 0:
        raise ValueError("there are no labels to balance")
    classes, before = np.unique(labels, return_counts=True)
    goal = {"oversample": before.max(), "undersample": before.min(), "augment": target}
    table = pd.DataFrame({"class": classes, "before": before, "after": goal.get(strategy, before)})
    table["kept"] = table[["before", "after"]].min(axis=1)
    return table.assign(added=table["after"] - table["kept"])


def apply(
    images: np.ndarray, labels: np.ndarray, strategy: str, target: int = 5000, seed: int = 0
) -> Balanced:
    """The training data under a strategy, not shuffled: originals in input order, then added ones.

    "augment" is hejslet-vetterstein's balancing: a class above target keeps a random target of
    its images, a smaller one keeps all and gains augmented copies of its own up to target.
    Each class draws from its own generator, so the others do not change what it gets.
    Raises ValueError as plan does, and where images and labels differ in number.
    """
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images do not match {len(labels)} labels")
    steps, weights = plan(labels, strategy, target), None
    if strategy == "augment":
        return _augmented(images, labels, steps, seed)
    if strategy in ("oversample", "undersample"):
        source = sampled(labels, strategy, seed)
        images, labels = images[source], labels[source]
    else:
        source = np.arange(len(labels))
    if strategy == "class_weights":
        weights = class_weights(labels, int(labels.max()) + 1)
    return Balanced(images, labels, source, np.zeros(len(source), bool), weights)


def _augmented(images: np.ndarray, labels: np.ndarray, steps: pd.DataFrame, seed: int) -> Balanced:
    originals, sources, copies = [], [], []
    for label, kept, added in zip(steps["class"], steps["kept"], steps["added"], strict=True):
        rng = np.random.default_rng([seed, label])
        rows = np.flatnonzero(labels == label)
        originals.append(rng.choice(rows, kept, replace=False))
        sources.append(rng.choice(rows, added))
        copies += [augment_face(images[row], rng) for row in sources[-1]]
    first = np.sort(np.concatenate(originals))
    source = np.concatenate([first, *sources])
    augmented = np.arange(len(source)) >= len(first)
    balanced = images[source]
    balanced[augmented] = np.reshape(copies, (-1, *images.shape[1:]))
    return Balanced(balanced, labels[source], source, augmented, None)
