"""The study's own network with its committed weights (results/reference), without training.

python -m fer_utils.pretrained --data PATH    scores it on your FER2013 as a run of results/full
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_utils import augment, datasets, devices, models, parameters, results
from fer_utils.protocol import Task
from fer_utils.results import VIEWS

if TYPE_CHECKING:
    import keras

RUN = parameters.ROOT / "results" / "reference" / "runs" / "fer_net" / "seed_0"
FILE = "weights.npz"
CALLED = "int8, results/reference"  # the record's model.weights
BATCH = 256


def save(run: results.Run, folder: Path = RUN) -> Path:
    """Write a run's weights as weights.npz: kernels int8 with a scale for each filter.

    What is no kernel (biases, batch normalisation) stays float32.
    """
    import keras

    network = keras.models.load_model(run.folder / "model.keras", compile=False)
    pixels = next(layer for layer in network.layers if isinstance(layer, keras.layers.Rescaling))
    arrays = {"scaling": np.array([pixels.scale, pixels.offset])}
    for i, weight in enumerate(network.get_weights()):
        if weight.ndim < 2:
            arrays[f"weight_{i}"] = weight
        else:
            scale = np.abs(weight).max(axis=tuple(range(weight.ndim - 1))) / 127
            scale[scale == 0] = 1
            arrays[f"weight_{i}"] = np.round(weight / scale).astype(np.int8)
            arrays[f"scale_{i}"] = scale
    with results.replacing(folder / FILE) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    return folder / FILE


def network(folder: Path = RUN) -> keras.Model:
    """The network with its committed weights, from pixels (n, 48, 48, 1) to probabilities (n, 7).

    ResultError if there are none here or if they are not of the network that the code builds.
    """
    path, metrics = folder / FILE, record(folder)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        scale, offset = arrays["scaling"].tolist()
        made = models.build(
            metrics["params"]["builder"],
            classes=len(metrics["protocol"]["classes"]),
            scale=scale,
            offset=offset,
            **metrics["params"]["options"],
        )
        made.set_weights(
            [
                arrays[f"weight_{i}"] * arrays.get(f"scale_{i}", np.float32(1))
                for i in range(len(made.weights))
            ]
        )
    except OSError as error:
        raise results.ResultError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise results.ResultError(
            f"{path}: not the weights of {metrics['run_id']} as it is built now ({error}); "
            "git checkout brings the committed file back"
        ) from None
    return made


def record(folder: Path = RUN) -> dict[str, Any]:
    """metrics.json of the run that the weights are from; ResultError if there is none."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise results.ResultError(
            f"{folder / 'metrics.json'}: no committed record ({error})"
        ) from None


def predictor(made: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities float32 (n, classes) of images uint8 (n, 48, 48), by `network()`."""
    devices.quiet()
    return lambda images: made.predict(images[..., None], batch_size=BATCH, verbose=0)


def restore(dataset: datasets.Dataset, study: str | Path, folder: Path = RUN) -> results.Run:
    """Score the committed network and write it as a finished run of the study.

    The record says that its weights are int8 and committed, so that a study trains in its place
    where the model is asked for. ResultError for other images than the committed run's, and where
    the study has a run of the model.
    """
    metrics = record(folder)
    params, seed = metrics["params"], metrics["seed"]
    results.same_images(results.Run(folder, metrics), dataset)
    place = results.run_folder(study, params["id"], seed)
    with results.locked(place):
        if (place / "metrics.json").is_file():
            raise results.ResultError(
                f"{place}: there is a finished run here; name another folder with --results"
            )
        task = Task(params, dataset, seed, ("pretrained",))
        task.identity["code"] = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
        with devices.exact():
            made = network(folder)
            predict = predictor(made)
            predictions = task.predictions(lambda part: predict(task.dataset.images[part]))
            if wanted := params["training"]["views"]:

                def mean_of_views(part: np.ndarray) -> np.ndarray:
                    views = augment.views(task.dataset.images[part], wanted["shift"])
                    return np.mean([predict(view) for view in views], axis=0)

                predictions |= task.predictions(mean_of_views, ("validation", "test"), VIEWS)
        engine = ("backend", "precision", "device", "devices")
        timing = ("training_seconds", "images_per_second", "stages")
        return results.write_run(
            place,
            task.record(
                predictions,
                model={**metrics["model"], "weights": CALLED},
                timing={key: metrics["timing"][key] for key in timing},
                engine={key: metrics["environment"][key] for key in engine},
            ),
            results.Run(folder, metrics).history,
            predictions,
            lambda staging: made.save(staging / "model.keras"),
        )


def main(arguments: list[str] | None = None) -> int:
    """Command line of `restore`; exit status 0, or 2 with one message."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.pretrained",
        description="Score the committed FER-Net on your FER2013 and write it as a finished run, "
        "so that the chapters about runs need no training.",
    )
    parser.add_argument("--data", required=True, help="your FER2013, as in run_all.sh")
    parser.add_argument(
        "--results", default="results/full", help="the study's folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        run = restore(datasets.load(options.data), options.results)
    except (datasets.DataError, parameters.ParameterError, results.ResultError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    test = run.test
    print(
        f"{run.folder}: {test['accuracy']:.1%} of {test['n']:,} {run.metrics['protocol']['test']} "
        f"images right ({test['accuracy_low']:.1%} to {test['accuracy_high']:.1%}), weights "
        f"{CALLED}"
    )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
