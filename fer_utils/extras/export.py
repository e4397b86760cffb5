"""Finished networks as TensorFlow Lite files with int8 weights, compared with the record."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_utils.base import replacing, write_text
from fer_utils.data import Dataset
from fer_utils.models import devices
from fer_utils.runs import predictors, provenance, store

if TYPE_CHECKING:
    import keras

FILE, RECORD, FORM = "model_int8.tflite", "export_int8.json", "TensorFlow Lite, int8"
BATCH = 256


def export(run: store.Run, dataset: Dataset) -> dict[str, Any]:
    """Write a run's network with int8 weights as model_int8.tflite, with export_int8.json.

    Dynamic-range quantisation: a scale for each filter, activations in float32. The record: size in
    bytes, and on the splits that the run is selected and tested on its accuracy, the float32
    network's, and how many predictions are the same.
    """
    content = converted(predictors.network(run))
    predict, protocol = predictor(content), run.metrics["protocol"]
    record = {"format": f"{FORM} weights", "source_sha256": _source(run), "bytes": len(content)}
    for split in dict.fromkeys((protocol["validation"], protocol["test"])):
        recorded = run.predictions(split)
        before = recorded["probabilities"].argmax(axis=1)
        after = predict(dataset.images[recorded["index"]]).argmax(axis=1)
        record[split] = {
            "n": len(after),
            "accuracy": float((after == recorded["labels"]).mean()),
            "accuracy_float32": float((before == recorded["labels"]).mean()),
            "same_prediction": int((after == before).sum()),
        }
    with replacing(run.folder / FILE) as temporary:
        temporary.write_bytes(content)
    write_text(run.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def read(run: store.Run) -> dict[str, Any] | None:
    """The record of model_int8.tflite; None if there is none of the network as it is now."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        record = json.loads((run.folder / RECORD).read_text(encoding="utf-8"))
        if (run.folder / FILE).is_file() and record["source_sha256"] == _source(run):
            return record
    return None


def installed() -> bool:
    """Is LiteRT here, which runs exported files?"""
    return importlib.util.find_spec("ai_edge_litert") is not None


def possible() -> bool:
    """Can networks be converted and run? Keras must run on TensorFlow for it."""
    import keras

    return installed() and keras.backend.backend() == "tensorflow"


def _source(run: store.Run) -> str:
    return hashlib.sha256((run.folder / "model.keras").read_bytes()).hexdigest()


def predictor(content: Path | bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities float32 (n, classes) of images uint8 (n, 48, 48), by an exported network."""
    from ai_edge_litert.interpreter import Interpreter

    content = content if isinstance(content, bytes) else content.read_bytes()
    with devices.silence():
        network = Interpreter(model_content=content, num_threads=provenance.threads())
    pixels = network.get_input_details()[0]["index"]
    output = network.get_output_details()[0]["index"]
    size = 0

    def predict(images: np.ndarray) -> np.ndarray:
        nonlocal size
        answers = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH, ..., None].astype(np.float32)
            if len(part) != size:
                size = len(part)
                with devices.silence():
                    network.resize_tensor_input(pixels, part.shape)
                    network.allocate_tensors()
            network.set_tensor(pixels, part)
            network.invoke()
            answers.append(network.get_tensor(output))
        return np.concatenate(answers)

    return predict


def converted(network: keras.Model) -> bytes:
    """A network from pixels (n, 48, 48, 1) to probabilities as TensorFlow Lite, int8 weights."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants as constants

    signature = [tf.TensorSpec((None, 48, 48, 1), tf.float32, name="pixels")]
    function = tf.function(lambda pixels: network(pixels, training=False), signature)
    frozen = constants.convert_variables_to_constants_v2(function.get_concrete_function())
    with devices.silence():
        # frozen, it needs no variables: an empty module spares saving the network's once more
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()
