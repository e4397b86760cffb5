"""What a network is computed on: backend, device, and the precision that it is fast in."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils.base import ParameterError

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever ~/.keras/keras.json names


def precision_for(choice: str) -> str:
    """The Keras dtype policy; "auto" is the fastest one that the device has in hardware.

    bfloat16 on GPUs from Ampere on and on processors with AMX or AVX512-BF16, float16 with loss
    scaling on Volta and Turing, else float32; on JAX a processor's is float32, as XLA's code for
    bfloat16 gives NaN there (jax 0.11).
    """
    capability = _gpu_capability() if choice == "auto" else None
    if not capability:
        return _cpu_precision(choice)
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def name() -> str:
    """The GPU's name, or "cpu"."""
    gpu = _gpu()
    if gpu is None:
        return "cpu"
    if _on_jax():
        return str(gpu.device_kind)
    import tensorflow as tf

    return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")


def sentence(choice: str = "auto") -> str:
    """One line on the device: processor or GPU, cores, precision, and a GPU that is not used.

    No backend is loaded where the machine has no NVIDIA GPU and none is loaded yet.
    """
    present = nvidia()
    gpu = present or "keras" in sys.modules
    precision = (precision_for if gpu else _cpu_precision)(choice).removeprefix("mixed_")
    if gpu and _gpu() is not None:
        return f"device: {name()}, {precision}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"device: {_processor()}, {cores} core{'s' * (cores != 1)}, {precision}"
    if present:
        jax = os.environ.get("KERAS_BACKEND") == "jax"
        remedy = f"pip install '{'jax[cuda12]' if jax else 'tensorflow[and-cuda]'}'"
        if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
            remedy = "unset CUDA_VISIBLE_DEVICES"
        text += f"; the NVIDIA GPU here is not used: {remedy} (docs/machines.md)"
    return text


def nvidia() -> bool:
    """Has the machine an NVIDIA GPU or its driver, whether or not it can be used?"""
    paths = [Path("/proc/driver/nvidia"), *Path("/dev").glob("nvidia*")]
    return any(path.exists() for path in paths) or shutil.which("nvidia-smi") is not None


def _cpuinfo() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/cpuinfo").read_text()
    return ""


def _processor() -> str:
    named = re.search(r"^model name\s*:\s*(.+)", _cpuinfo(), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _cpu_precision(choice: str) -> str:
    if choice != "auto":
        return choice
    fast = os.environ.get("KERAS_BACKEND") != "jax" and re.search(
        "amx_bf16|avx512_bf16", _cpuinfo()
    )
    return "mixed_bfloat16" if fast else "float32"


def check_backend() -> None:
    """ParameterError if KERAS_BACKEND names a backend that is unknown here or not installed."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend not in ("tensorflow", "jax"):
        raise ParameterError(f"KERAS_BACKEND is {backend}; valid are tensorflow, jax")
    if importlib.util.find_spec(backend) is None:
        raise ParameterError(
            f"KERAS_BACKEND is {backend}, which is not installed here: pip install {backend}"
        )


def start() -> None:
    """Import Keras and its backend without their notes; ParameterError where there is none such."""
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes oneDNN by itself only with AVX512-VNNI; with AVX2 alone it is faster, too
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with silence():  # TensorFlow prints some notes at any level
        import keras  # noqa: F401
    quiet()


def keras_defaults() -> None:
    """The data format, precision and epsilon of the study, whatever ~/.keras/keras.json names."""
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    keras.config.set_floatx("float32")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the notes that C++ code prints off the screen and the notebook."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def quiet() -> None:
    """Keep TensorFlow's advice on its own speed out of the notebooks; errors still come."""
    if not _on_jax():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Layers made in the block have this Keras dtype policy."""
    import keras

    keras_defaults()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Layers made and run in the block are float32, not in the TF32 of recent GPUs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(policy("float32"))
        if _on_jax():
            import jax

            stack.enter_context(jax.default_matmul_precision("highest"))
        else:
            from tensorflow import config

            before = config.experimental.tensor_float_32_execution_enabled()
            config.experimental.enable_tensor_float_32_execution(False)
            stack.callback(config.experimental.enable_tensor_float_32_execution, before)
        yield


def batches(inputs: Any, targets: Any = None, weights: Any = None, *, size: int) -> dict[str, Any]:
    """Arguments of Keras' fit() or predict() for arrays in their order, `size` images a batch.

    Keras wraps arrays in a tf.data pipeline whose autotuning thread polls with a period of up to
    60 s, and the end of fit() waits for its next poll; the pipeline here has no such thread.
    """
    if _on_jax():  # has no tf.data in between
        told = {"x": inputs, "y": targets, "sample_weight": weights, "batch_size": size}
        return {key: value for key, value in told.items() if value is not None}
    import tensorflow as tf

    inputs = tuple(inputs) if isinstance(inputs, list) else inputs
    weights = None if weights is None else np.asarray(weights, "float32")
    told = tuple(part for part in (inputs, targets, weights) if part is not None)
    arrays = tf.nest.map_structure(tf.convert_to_tensor, told)
    count = len(tf.nest.flatten(arrays)[0])
    dataset = tf.data.Dataset.range(0, count, size).map(
        lambda start: tf.nest.map_structure(lambda array: array[start : start + size], arrays)
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return {"x": dataset.prefetch(2).with_options(options)}


def array(variable: Any) -> np.ndarray:
    """A copy of the value of a Keras variable."""
    return np.array(variable.value) if _on_jax() else variable.value.numpy()


def _on_jax() -> bool:
    import keras

    return keras.backend.backend() == "jax"


def _gpu() -> Any:
    if _on_jax():
        import jax

        return next(
            (device for device in jax.devices() if device.platform in ("gpu", "cuda")), None
        )
    import tensorflow as tf

    return next(iter(tf.config.list_physical_devices("GPU")), None)


def _gpu_capability() -> tuple[int, ...] | None:
    gpu = _gpu()
    if gpu is None:
        return None
    if _on_jax():
        return tuple(int(part) for part in str(gpu.compute_capability).split("."))
    import tensorflow as tf

    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
