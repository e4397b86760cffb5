"""Distillation: a finished run's answers as part of the labels that a network learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from fer_utils import devices, predecessors, results


def labels(
    settled: dict[str, Any], images: np.ndarray, hard: np.ndarray, data: str, protocol: str
) -> np.ndarray:
    """Labels float32 (n, classes): the teacher's probabilities, weighted, and the labels `hard`.

    The teacher sees each image uint8 (n, 48, 48) as it is and mirrored (Hinton et al. 2015, at
    temperature 1). `data` and `protocol` are checked as `predecessors.checked` says.
    """
    from fer_utils import inference

    place = predecessors.checked(settled["teacher"], "distillation.teacher", data, protocol)
    with devices.exact():
        if settled["teacher"]["file"] in predecessors.FILES:
            predict = inference.of_network(predecessors.network(place))
        else:
            predict = inference.predictor(results.read_run(place))  # the ensemble's
        answers = (predict(images) + predict(images[:, :, ::-1])) / 2
    weight = settled["weight"]
    return ((1 - weight) * np.eye(answers.shape[1])[hard] + weight * answers).astype(np.float32)
