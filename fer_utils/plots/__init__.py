"""Figures in one style; every function returns a Figure and touches no file."""

from fer_utils.plots.figures import (
    accuracy_bars,
    architecture,
    confusion,
    explained_variance,
    faces,
    feature_maps,
    filters,
    grid_scores,
    learning_curves,
    mistakes,
    scatter,
    stages,
)
from fer_utils.plots.style import (
    EMOTION_COLOURS,
    FIRST,
    MODEL_COLOURS,
    OTHER_COLOURS,
    PLAIN,
    SECOND,
    SPLIT_COLOURS,
    VERDICT_COLOURS,
    model_colour,
    panels,
    picture,
    use_style,
)
from fer_utils.plots.verdicts import claims
