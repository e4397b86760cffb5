"""Images per second of finished runs, in every form that they have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from fer_utils.extras import export
from fer_utils.runs.predictors import BATCHES, predictor
from fer_utils.runs.store import Run

FORMS = {"Keras": "model.keras", "scikit-learn": "model.joblib", export.FORM: export.FILE}


def speeds(
    runs: list[Run], images: np.ndarray, seconds: float = 1.0, batches: Sequence[int] = BATCHES
) -> pd.DataFrame:
    """Images per second and file size of each run, one after the other on the same images.

    A row for each form of a run, as it was saved and as it was exported; a column `batch_N` for
    each batch size N, the median of the calls, at most 25, that `seconds` allow after a first one,
    which is not counted. ValueError for a batch that is not 1 to 256 images.
    """
    if not all(1 <= batch <= max(BATCHES) for batch in batches):
        raise ValueError(f"batch sizes are {list(batches)} but must be 1 to {max(BATCHES)}")
    rows = []
    for run in runs:
        for form, name in FORMS.items():
            path = run.folder / name
            if not path.is_file() or (name == export.FILE and not export.read(run)):
                continue
            row = {"run_id": run.metrics["run_id"], "seed": run.metrics["seed"], "form": form}
            row["megabytes"] = round(path.stat().st_size / 1e6, 2)
            predict = export.predictor(path) if name == export.FILE else predictor(run)
            rows.append(
                row
                | {f"batch_{b}": images_per_second(predict, images, b, seconds) for b in batches}
            )
    return pd.DataFrame(rows)


def images_per_second(predict: Callable, images: np.ndarray, batch: int, seconds: float) -> float:
    """Median over calls with `batch` images uint8, at most 25 in so many seconds."""
    inputs = np.resize(images, (batch, 48, 48))
    predict(inputs)  # builds graphs and buffers
    taken: list[float] = []
    while not taken or (sum(taken) < seconds and len(taken) < 25):
        start = time.perf_counter()
        predict(inputs)
        taken.append(time.perf_counter() - start)
    return round(batch / float(np.median(taken)), 1)
