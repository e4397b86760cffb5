"""Figures in one style; every function returns a Figure and touches no file."""

from fer_utils.plots.figures import (
    accuracy_bars,
    all_confusions,
    all_curves,
    architecture,
    confusion,
    explained_variance,
    faces,
    feature_maps,
    filters,
    grid_scores,
    heatmap,
    learning_curves,
    mistakes,
    reliability,
    scatter,
    stages,
)
from fer_utils.plots.style import (
    EMOTION_COLOURS,
    FIRST,
    MODEL_COLOURS,
    OTHER_COLOURS,
    SECOND,
    SPLIT_COLOURS,
    VERDICT_COLOURS,
    model_colour,
    panels,
    picture,
    use_style,
)
from fer_utils.plots.verdicts import claims
