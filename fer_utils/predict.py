"""The expressions of the faces in a photo, by a finished run.

python -m fer_utils.predict IMAGE ... [--model RUN]
"""

from __future__ import annotations

import argparse
import os
import sys

import cv2
import numpy as np

from fer_utils import preprocess, results
from fer_utils.fer2013 import DataError

STUDIES = ("full", "quick", "demo")  # where a run is looked for, in this order
SMALLEST = 40  # side of a face in a photo, pixels


def faces(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes int (n, 4) of the faces in a grey photo, and the faces uint8 (n, 48, 48)."""
    boxes = preprocess.detect(photo, SMALLEST)
    cut = [
        cv2.resize(photo[y : y + h, x : x + w], (48, 48), interpolation=cv2.INTER_AREA)
        for x, y, w, h in boxes
    ]
    return boxes, np.array(cut, np.uint8).reshape(-1, 48, 48)


def _default() -> results.Run:
    for study in STUDIES:
        runs = results.finished_runs(f"results/{study}")
        if runs:
            return results.best_run(runs)[0]
    raise results.ResultError(
        f"no finished run in results/{{{','.join(STUDIES)}}}; run the study first, "
        "or name a run's folder with --model"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print each face's probabilities; exit status 0, or 2 with one message for bad input."""
    from fer_utils import inference

    parser = argparse.ArgumentParser(prog="python -m fer_utils.predict", description=__doc__)
    parser.add_argument("image", nargs="+", help="photos, .jpg or .png")
    parser.add_argument(
        "--model", metavar="RUN", help="a run's folder (default: the best of your last full, quick "
        "or demo study by validation)"
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        run = results.read_run(options.model) if options.model else _default()
        photos = [preprocess.read_photo(image) for image in options.image]
        predict = inference.predictor(run)
    except (DataError, results.ResultError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    classes = run.metrics["protocol"]["classes"]
    known = " (trained on synthetic faces)" if run.metrics["data"]["synthetic"] else ""
    print(f"model {run.label}{known}")
    for name, photo in zip(options.image, photos, strict=True):
        boxes, cut = faces(photo)
        print(f"\n{name}: {len(boxes)} face{'s' * (len(boxes) != 1)} found")
        for (x, y, w, _), probabilities in zip(
            boxes, predict(cut) if len(cut) else (), strict=True
        ):
            print(f"  face at column {x}, row {y}, {w} pixels wide")
            for label in np.argsort(-probabilities):
                share = probabilities[label]
                print(f"    {classes[label]:<10} {share:6.1%} {'#' * round(40 * share)}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
