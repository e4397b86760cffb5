"""What a network loses when its images get worse: seven corruptions of five strengths."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd

from fer_utils.scores import SCORE, accuracy

# After Hendrycks and Dietterich (2019), fitted to faces of 48 grey pixels: the parameter as text
# and its value at strengths 1 to 5.
STRENGTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "brightness": ("factor {:g}", (1.15, 1.3, 1.5, 1.75, 2.0)),  # of each grey level, cut at 255
    "contrast": ("factor {:g}", (0.7, 0.5, 0.35, 0.2, 0.1)),  # of the distance from the mean
    "blur": ("sigma {:g} px", (0.5, 0.75, 1.0, 1.5, 2.0)),  # of a Gaussian
    "noise": ("sd {:g} grey levels", (5, 10, 20, 30, 40)),  # Gaussian, every pixel for itself
    "rotation": ("{:g} degrees", (5, 10, 15, 20, 30)),  # to the left or right by chance
    "eyes hidden": ("{:.0%} of height", (1 / 12, 1 / 6, 1 / 4, 1 / 3, 5 / 12)),
    "mouth hidden": ("{:.0%} of height", (1 / 12, 1 / 6, 1 / 4, 1 / 3, 5 / 12)),
}
KINDS = tuple(STRENGTHS)
# Middle of the occluding band, as a share of the height: rows 18 and 38 of 48, where the mean face
# of FER2013 has its pupils and lips. The strongest bands meet and do not overlap.
CENTRES = {"eyes hidden": 18 / 48, "mouth hidden": 38 / 48}


def corrupted(images: np.ndarray, kind: str, strength: int, seed: int = 0) -> np.ndarray:
    """The images uint8 (n, h, w), corrupted, uint8 of the same shape.

    `kind` is one of KINDS, `strength` 1 (slight) to 5. The seed decides the noise and to which
    side an image turns, alike at every strength. Turned images continue their edge pixels, a
    hidden band has the image's mean grey.
    """
    value = STRENGTHS[kind][1][strength - 1]
    rng = np.random.default_rng(seed)
    if kind == "brightness":
        return _pixels(images * np.float32(value))
    if kind == "noise":
        return _pixels(images + value * rng.standard_normal(images.shape, np.float32))
    if kind == "blur":
        blurred = [cv2.GaussianBlur(image, (0, 0), value) for image in images]
        return np.reshape(np.array(blurred, np.uint8), images.shape)
    if kind == "rotation":
        return _rotated(images, value * rng.choice([-1, 1], len(images)))
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    if kind == "contrast":
        return _pixels(mean + (images - mean) * np.float32(value))
    height = images.shape[1]
    top = round((CENTRES[kind] - value / 2) * height)
    out = images.copy()
    out[:, max(top, 0) : top + round(value * height)] = _pixels(mean)
    return out


def table(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    kinds: tuple[str, ...] = KINDS,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy under every corruption and strength, of labels (n,).

    `predict` makes probabilities (n, classes) of images uint8 (n, 48, 48). Columns: kind, strength
    (0 to 5), value (the parameter with its unit), accuracy, accuracy_low, accuracy_high (95 %
    Wilson). Every kind starts at strength 0, the untouched images, which are predicted once.
    """

    def score(images: np.ndarray) -> list[float]:
        found = accuracy(predict(images).argmax(axis=1) == labels)
        return [found[name] for name in SCORE[1:]]

    untouched, rows = score(images), []
    for kind in kinds:
        rows.append((kind, 0, "untouched", *untouched))
        for strength in range(1, 6):
            worse = corrupted(images, kind, strength, seed)
            rows.append((kind, strength, told(kind, strength), *score(worse)))
    return pd.DataFrame(rows, columns=["kind", "strength", "value", *SCORE[1:]])


def told(kind: str, strength: int) -> str:
    """The parameter of a corruption with its unit, "sigma 1 px" say."""
    text, values = STRENGTHS[kind]
    return text.format(values[strength - 1])


def _rotated(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    size = images.shape[:0:-1]
    centre, out = ((size[0] - 1) / 2, (size[1] - 1) / 2), np.empty_like(images)
    for i, angle in enumerate(degrees.tolist()):
        turn = cv2.getRotationMatrix2D(centre, angle, 1)
        out[i] = cv2.warpAffine(images[i], turn, size, borderMode=cv2.BORDER_REPLICATE)
    return out


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
