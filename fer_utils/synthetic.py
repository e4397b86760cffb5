"""Synthetic data with the traits of FER2013, for trials without the real images.

The faces are drawings (fer_utils.faces). To them come the things that make FER2013 hard: unequal
classes, wrong labels, images repeated within and across the splits, black images. A score on these
drawings says nothing about people's faces.
"""

import numpy as np

from fer_utils.faces import EXPRESSIONS, SIDE, degrade, draw, draw_parameters

FER2013_COUNTS = np.array([4953, 547, 5121, 8989, 6077, 4002, 6198])  # in label order
# What the face shows when its label (the key) is wrong; repeated names are likelier.
CONFUSIONS = {
    "anger": ("disgust", "disgust", "sadness", "neutral"),
    "disgust": ("anger", "anger", "sadness"),
    "fear": ("surprise", "surprise", "sadness"),
    "happiness": ("neutral", "surprise"),
    "sadness": ("neutral", "neutral", "fear"),
    "surprise": ("fear", "fear", "happiness"),
    "neutral": ("sadness", "sadness", "anger", "happiness"),
}
WRONG_LABELS = 0.08  # share of the images
LEAKED = 0.08  # share of each test split that repeats a training image
REPEATED = 0.04  # share of the training split that repeats another training image
CONFLICTING = 0.05  # share of those repeats that carry another label


def label_plan(n, rng):
    """Labels and splits (0 Training, 1 PublicTest, 2 PrivateTest), (n,) each, split after split.

    Classes and splits keep FER2013's proportions. From n = 700 on each test split holds at least
    two images of every class; below about 30 the test splits may be empty.
    """
    exact = FER2013_COUNTS * n / FER2013_COUNTS.sum()
    counts = exact.astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    test = np.maximum(np.rint(counts * 0.1).astype(int), 2 if n >= 700 else 0)
    parts = [np.repeat(np.arange(7, dtype=np.uint8), k) for k in (counts - 2 * test, test, test)]
    labels = np.concatenate([rng.permutation(part) for part in parts])
    return labels, np.repeat(np.arange(3), [len(part) for part in parts])


def repeat_plan(labels, split, rng):
    """For each image the index of the image whose pixels it has, mostly its own; (n,).

    Repeats copy a training image of the same label, a few of them one of another label.
    """
    source = np.arange(len(labels))
    copies = []
    for k, share in enumerate((REPEATED, LEAKED, LEAKED)):
        members = np.flatnonzero(split == k)
        copies += rng.permutation(members)[: round(share * len(members))].tolist()
    originals = np.setdiff1d(np.flatnonzero(split == 0), copies)
    conflicting = set(rng.permutation(copies)[: round(CONFLICTING * len(copies))].tolist())
    for i in copies:
        pool = originals[(labels[originals] != labels[i]) == (i in conflicting)]
        if len(pool):  # a tiny data set may hold nothing to copy
            source[i] = rng.choice(pool)
    return source


def generate(n=5000, seed=0):
    """A Dataset of `n` synthetic faces in FER2013's proportions, about 1 ms each.

    The same n and seed give the same bytes (with the same versions of NumPy and OpenCV).
    `provenance` says that they are synthetic and counts the wrong labels, the repeats, the test
    images that repeat a training one and the black images. DataError for a bad n or seed.
    """
    from fer_utils.datasets import USAGES, DataError, Dataset  # which imports this module

    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < least:
            raise DataError(
                f"synthetic images: {name} must be an integer >= {least}, not {value!r}"
            )
    rng = np.random.default_rng(int(seed))
    labels, split = label_plan(n, rng)
    source = repeat_plan(labels, split, rng)
    repeat = source != np.arange(n)
    free = np.setdiff1d(np.arange(n), np.concatenate([np.flatnonzero(repeat), source[repeat]]))
    black = rng.permutation(free)[: max(round(n * 13 / 35887), 1) if n >= 1000 else 0]
    drawn = np.setdiff1d(np.flatnonzero(~repeat), black)

    shown = np.array(list(EXPRESSIONS), dtype=object)[labels]
    given = shown.copy()
    for i in rng.permutation(drawn)[: round(WRONG_LABELS * len(drawn))]:
        shown[i] = rng.choice(CONFUSIONS[given[i]])
    images = np.zeros((n, SIDE, SIDE), np.uint8)
    for i, face in zip(drawn, draw_parameters(rng, shown[drawn]), strict=True):
        images[i] = degrade(draw(face), face, rng)
    provenance = {
        "kind": "synthetic",
        "source": f"synthetic:n={n},seed={seed}",
        "synthetic": True,
        "wrong_labels": int((shown[source] != given).sum()),
        "repeated_images": int(repeat.sum()),
        "test_images_in_training": int((repeat & (split > 0)).sum()),
        "black_images": len(black),
    }
    names = np.array([f"synthetic_{i:05d}" for i in range(n)])
    return Dataset(images[source], labels, np.array(USAGES)[split], names, provenance)
