"""The expressions of the faces in a photo, by the committed FER-Net or a finished run.

python -m fer_utils.extras.photo IMAGE ... [--model RUN]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fer_utils import config as parameters
from fer_utils.base import DataError, ResultError, replacing, status
from fer_utils.data import preprocess
from fer_utils.data.dataset import cache_folder
from fer_utils.extras import export
from fer_utils.extras import weights as pretrained
from fer_utils.models import devices
from fer_utils.runs import predictors, store

STUDIES = ("full", "quick", "demo")  # where a run is looked for, in this order
SMALLEST = 40  # side of a face in a photo, pixels


def faces(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes int (n, 4) of the faces in a grey photo, and the faces uint8 (n, 48, 48).

    A photo of 48x48 pixels is a face, as in FER2013.
    """
    if photo.shape == (48, 48):
        return np.array([[0, 0, 48, 48]]), photo[None]
    boxes = preprocess.detect(photo, SMALLEST)
    cut = [
        cv2.resize(photo[y : y + h, x : x + w], (48, 48), interpolation=cv2.INTER_AREA)
        for x, y, w, h in boxes
    ]
    return boxes, np.array(cut, np.uint8).reshape(-1, 48, 48)


def _chosen(model: str) -> store.Run:
    """The run in a folder, or the first of a model's in the last studies."""
    known = parameters.names("models")
    if model not in known:
        if not Path(model).is_dir():
            raise ResultError(
                f"--model {model} is neither the folder of a run, as runs/basic_cnn/seed_0, "
                f"nor a model; models are {', '.join(known)}"
            )
        folder = Path(model)
        if (folder / "metrics.json").is_file() and not (folder / "predictions.npz").is_file():
            raise ResultError(
                f"--model {model}: a record alone; give a run's folder that has its network"
            )
        return store.read_run(model)
    for study in STUDIES:
        if found := store.finished_runs(f"results/{study}", [model]):
            return found[0]
    raise ResultError(
        f"no finished run of {model} in results/{{{','.join(STUDIES)}}}; "
        f"./run_all.sh --data PATH --only {model} makes one, or give the folder of a run elsewhere"
    )


def committed_in_int8(folder: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """Probabilities of images by the committed network as a TensorFlow Lite file of int8 weights.

    The file is made when it is first asked for and kept in the cache, so that later no Keras is
    loaded. None where there is none yet and Keras does not run on TensorFlow, which alone converts.
    """
    digest = hashlib.sha256(json.dumps(pretrained.record(folder)["params"]).encode())
    with contextlib.suppress(OSError):  # which loading the network tells of
        digest.update((folder / pretrained.FILE).read_bytes())
    kept = cache_folder()
    place = kept and kept / f"{folder.parent.name}-{digest.hexdigest()[:24]}.tflite"
    with contextlib.suppress(OSError, ValueError):  # there is none, or it is damaged: made anew
        if place:
            return export.predictor(place)
    if not export.possible():
        return None
    content = export.converted(pretrained.network(folder))
    if place:
        with contextlib.suppress(ResultError):  # a full or read-only disk costs time alone
            with replacing(place) as temporary:
                temporary.write_bytes(content)
    return export.predictor(content)


def _predictor(model: str | None) -> tuple[Callable[[np.ndarray], np.ndarray], store.Run, str]:
    """What predicts, the run it is from, and what the model is to be called."""
    from fer_utils.runs import store

    devices.check_backend()
    committed = pretrained.RUN if model is None else Path(model)
    if model is None or (committed / pretrained.FILE).is_file():
        run = store.Run(committed, pretrained.record(committed))
        name = f"{run.label}, committed weights"
        if predict := committed_in_int8(committed):
            return predict, run, f"{name}, int8"
        return predictors.of_network(pretrained.network(committed)), run, name
    run = _chosen(model)
    if export.read(run):  # a quarter of the size, and quicker to load
        return export.predictor(run.folder / export.FILE), run, f"{run.label}, int8 weights"
    return predictors.predictor(run), run, run.label


def _described(run: store.Run, name: str) -> str:
    """The model's name, how good its network is, and what that means."""
    split = run.metrics["protocol"]["test"]
    accuracy = (export.read(run) or run.metrics["scores"])[split]["accuracy"]
    text = f"model {name}, {accuracy:.1%} of {split} right"
    if run.metrics["data"]["synthetic"]:
        text += "\ntrained on synthetic faces: what it says of a real one means nothing"
    elif accuracy < 2 / len(run.metrics["protocol"]["classes"]):
        text += "\nhardly better than chance: what it says means little"
    return text


def _show(
    image: str, photo: np.ndarray, predict: Callable[[np.ndarray], np.ndarray], classes: list[str]
) -> None:
    boxes, cut = faces(photo)
    count = f"{len(boxes)} face{'s' * (len(boxes) != 1)}"
    print(f"\n{image}: {count} found in {photo.shape[1]} x {photo.shape[0]} pixels")
    if not len(boxes):
        print(f"  only frontal faces of at least {SMALLEST} pixels are found")
        return
    for (x, y, w, _), probabilities in zip(boxes, predict(cut), strict=True):
        print(f"  face at column {x}, row {y}, {w} pixels wide")
        for label in np.argsort(-probabilities):
            share = probabilities[label]
            print(f"    {classes[label]:<10} {share:6.1%} {'#' * round(40 * share)}")


def _predict(options: argparse.Namespace) -> None:
    photos, faults = {}, []
    for image in options.image:
        try:
            photos[image] = preprocess.read_photo(image)
        except DataError as error:
            faults.append(str(error))
    if not photos:
        raise DataError("; ".join(faults))
    with devices.silence():
        predict, run, name = _predictor(options.model)
    print(_described(run, name))
    for image, photo in photos.items():
        _show(image, photo, predict, run.metrics["protocol"]["classes"])
    if faults:  # last, where it is seen, and after what could be done
        sys.stdout.flush()
        raise DataError("; ".join(faults))


def main(arguments: list[str] | None = None) -> int:
    """Print the probabilities of every face in every photo that can be read; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fer_utils.extras.photo", description=__doc__)
    parser.add_argument("image", nargs="+", help="photos, .jpg or .png")
    parser.add_argument(
        "--model", metavar="RUN", help="a run's folder, or the id of a model in your last full, "
        "quick or demo study (default: FER-Net with the committed weights)"
    )  # fmt: skip
    options = parser.parse_args(arguments)
    return status(lambda: _predict(options))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
