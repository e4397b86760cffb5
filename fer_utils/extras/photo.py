"""The expressions of the faces in photos, by the committed FER-Net or a finished run.

python -m fer_utils.extras.photo PHOTO ... [--face] [--json] [--save PICTURE] [--model RUN]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_utils import config as parameters
from fer_utils.base import DataError, ParameterError, ResultError, status
from fer_utils.data import photo as photos
from fer_utils.data import preprocess
from fer_utils.extras import export
from fer_utils.extras import weights as committed
from fer_utils.models import devices
from fer_utils.runs import predictors, store

STUDIES = ("full", "quick", "demo")  # where a run is looked for, in this order
SMALLEST = 40  # side of a face in a photo, pixels
WINDOW = 24  # side of the detector's window, pixels
DETECTED = 20e6  # pixels of the largest photo in which faces are searched at full size
DOUBTFUL = 1 / 3  # of the widest face: what is smaller is rarely a face


def smallest(shape: tuple[int, ...]) -> int:
    """Side in pixels of the smallest face that is found in a photo of this height and width."""
    return max(SMALLEST, math.ceil(WINDOW / _factor(shape)))


def _factor(shape: tuple[int, ...]) -> float:
    return min(1.0, math.sqrt(DETECTED / (shape[0] * shape[1])))


def faces(photo: np.ndarray, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Boxes int (n, 4) of the faces in a grey photo from left to right; faces uint8 (n, 48, 48).

    A box is left, top, width, height. With `whole`, and in a photo of 48x48 pixels as in FER2013,
    the centred square is the face. Above 20 megapixels a smaller copy is searched.
    """
    height, width = photo.shape
    if whole or photo.shape == (48, 48):
        side = min(height, width)
        boxes = np.array([[(width - side) // 2, (height - side) // 2, side, side]])
    else:
        factor, copy = _factor(photo.shape), photo
        if factor < 1:
            size = (max(1, round(factor * width)), max(1, round(factor * height)))
            copy = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        found = preprocess.detect(copy, math.ceil(factor * smallest(photo.shape)))
        boxes = np.round(found / factor).astype(int)
        boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    cut = [
        cv2.resize(photo[y : y + h, x : x + w], (48, 48), interpolation=cv2.INTER_AREA)
        for x, y, w, h in boxes
    ]
    return boxes, np.array(cut, np.uint8).reshape(-1, 48, 48)


def _chosen(model: str) -> store.Run:
    """The run in a folder, or the first of a model's in the last studies."""
    known, folder = parameters.names("models"), Path(model)
    if model in known:
        for study in STUDIES:
            if found := store.finished_runs(f"results/{study}", [model]):
                return found[0]
        raise ResultError(
            f"no finished run of {model} in results/{{{','.join(STUDIES)}}}; ./run_all.sh "
            f"--data PATH --only {model} makes one, or give the folder of a run elsewhere"
        )
    if not folder.is_dir():
        raise ResultError(
            f"--model {model} is neither the folder of a run, as runs/basic_cnn/seed_0, "
            f"nor a model; models are {', '.join(known)}"
        )
    if (folder / "metrics.json").is_file() and not (folder / "predictions.npz").is_file():
        raise ResultError(f"--model {model}: a record alone; give a run's folder with its network")
    return store.read_run(model)


class Model:
    """A network, the views of a face that it averages, and its recorded accuracy with them."""

    def __init__(self, model: str | None, one_view: bool = False) -> None:
        devices.check_backend()
        folder = committed.RUN if model is None else Path(model)
        with devices.silence():
            if model is None or (folder / committed.FILE).is_file():
                self.run = store.Run(folder, committed.record(folder))
                predict, form = committed.in_int8(folder), ", committed weights, int8"
                if not predict:
                    predict = predictors.of_network(committed.network(folder))
                    form = ", committed weights"
            else:
                self.run = _chosen(model)
                if export.installed() and export.read(self.run):  # smaller, quicker to load
                    predict, form = export.predictor(self.run.folder / export.FILE), ", int8"
                else:
                    predict, form = predictors.predictor(self.run), ""
        metrics = self.run.metrics
        self.predict, self.name = predict, self.run.label + form
        self.split, self.classes = metrics["protocol"]["test"], metrics["protocol"]["classes"]
        several = metrics["scores"].get(self.split + store.VIEWS)
        recorded = metrics["params"]["training"].get("views")  # of an ensemble the members have it
        self.views = recorded if recorded and several and not one_view else {}
        self.count = metrics["model"]["views"] if self.views else 1
        scores = export.read(self.run) or metrics["scores"]
        self.accuracy = (several if self.views else scores[self.split])["accuracy"]

    def notes(self) -> list[str]:
        """What a reader of the probabilities should know."""
        views = f"the mean of {self.count} views of a face" if self.count > 1 else "one view"
        notes = [
            f"right on {self.accuracy:.1%} of the {self.split} images ({views})",
            "an expression is not a feeling",
        ]
        if self.run.metrics["data"]["synthetic"]:
            notes.append("trained on synthetic faces: its answers for real ones mean nothing")
        elif self.accuracy < 2 / len(self.classes):
            notes.append("hardly better than chance: its answers mean little")
        return notes

    def answer(self, path: str, image: Image.Image, whole: bool) -> dict[str, Any]:
        """The faces of a photo as plain data: box, emotion, probabilities, and whether doubtful."""
        boxes, cut = faces(np.asarray(image.convert("L")), whole)
        widest, found, mean = max(boxes[:, 2], default=0), [], []
        if len(boxes):
            views = preprocess.views(cut, **self.views)[: self.count]
            mean = np.mean([self.predict(view) for view in views], axis=0)
        for box, shares in zip(boxes.tolist(), mean, strict=True):
            order = np.argsort(-shares)
            found.append({
                "box": box,
                "doubtful": bool(box[2] < DOUBTFUL * widest),
                "emotion": self.classes[order[0]],
                "probabilities": {self.classes[i]: round(float(shares[i]), 4) for i in order},
            })  # fmt: skip
        return {"photo": path, "width": image.width, "height": image.height, "faces": found}


def _text(answer: dict[str, Any]) -> str:
    found, width, height = answer["faces"], answer["width"], answer["height"]
    count = f"{len(found)} face{'s' * (len(found) != 1)}"
    lines = [f"\n{answer['photo']}: {count} found in {width} x {height} pixels"]
    if not found:
        least = smallest((height, width))
        lines.append(f"  only frontal faces of at least {least} pixels are found; if the picture "
                     "is a face that is cut out already, add --face")  # fmt: skip
    for number, face in enumerate(found, 1):
        x, y, wide, _ = face["box"]
        doubt = "; much smaller than the widest: perhaps not a face" * face["doubtful"]
        lines.append(f"  face {number} at column {x}, row {y}, {wide} pixels wide{doubt}")
        for emotion, share in face["probabilities"].items():
            lines.append(f"    {emotion:<10} {share:6.1%} {'#' * round(40 * share)}".rstrip())
    return "\n".join(lines)


def _save(image: Image.Image, answer: dict[str, Any], path: str) -> None:
    """Write a photo with numbered boxes; ResultError if it cannot be written."""
    drawn = image.convert("RGB")
    pen, line = ImageDraw.Draw(drawn), max(2, max(drawn.size) // 400)
    font = ImageFont.load_default(max(12, max(drawn.size) // 60))
    for number, face in enumerate(answer["faces"], 1):
        x, y, wide, high = face["box"]
        colour = "grey" if face["doubtful"] else "lime"
        pen.rectangle((x, y, x + wide - 1, y + high - 1), outline=colour, width=line)
        name = f"{number} {face['emotion']} {max(face['probabilities'].values()):.0%}"
        pen.text((x, y), name, "white", font, "ls", stroke_width=2, stroke_fill="black")
    try:
        drawn.save(Path(path).expanduser())
    except (OSError, ValueError) as error:
        raise ResultError(
            f"--save {path}: cannot be written ({error}); name a .jpg or .png in a folder that "
            "is there"
        ) from None


def _answer(options: argparse.Namespace) -> None:
    if options.save and len(options.photo) > 1:
        raise ParameterError("--save is for one photo; give them one after the other")
    if options.save and Path(options.save).absolute() == Path(options.photo[0]).absolute():
        raise ParameterError(f"--save {options.save} would replace the photo; give another name")
    pictures, faults = {}, []
    for path in options.photo:
        try:
            pictures[path] = photos.read(path)
        except DataError as error:
            faults.append(str(error))
    if not pictures:
        raise DataError("; ".join(faults))
    model = Model(options.model, options.one_view)
    answers = [model.answer(path, image, options.face) for path, image in pictures.items()]
    if options.json:
        about = {"model": model.name, "accuracy": model.accuracy, "views": model.count}
        print(json.dumps({**about, "notes": model.notes(), "photos": answers}, indent=1))
    else:
        print(f"model {model.name}", *model.notes(), sep="\n  ")
        print(*map(_text, answers), sep="\n")
    if options.save:
        _save(pictures[options.photo[0]], answers[0], options.save)
    if faults:  # last, where it is seen, and after what could be done
        sys.stdout.flush()
        raise DataError("; ".join(faults))


def main(arguments: list[str] | None = None) -> int:
    """Print the probabilities of every face in every photo that can be read; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.extras.photo",
        description="The expressions of the faces in photos. An expression is not a feeling.",
    )
    add = parser.add_argument
    add("photo", nargs="+", help="JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF")
    add("--face", action="store_true", help="the picture is a face that is cut out already")
    add("--json", action="store_true", help="print JSON")
    add("--save", metavar="PICTURE", help="write the photo with the faces marked")
    add("--one-view", action="store_true", help="do not average views of a face (shifted by two "
        "pixels, mirrored): ten times as fast, a little less accurate")  # fmt: skip
    add("--model", metavar="RUN", help="a run's folder, or the id of a model in your last full, "
        "quick or demo study (default: FER-Net with the committed weights)")  # fmt: skip
    options = parser.parse_args(arguments)
    return status(lambda: _answer(options))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
