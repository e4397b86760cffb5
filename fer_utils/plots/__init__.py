"""Figures in one style; every function returns a Figure and touches no file."""

from fer_utils.plots.data import (
    before_after,
    class_counts,
    distributions,
    faces,
    marked_faces,
    pairs,
    sample_grid,
    stages,
)
from fer_utils.plots.figures import (
    accuracy_bars,
    all_confusions,
    all_curves,
    claimed_and_measured,
    confusion,
    explained_variance,
    feature_maps,
    filters,
    gaps,
    grid_scores,
    heatmap,
    learning_curves,
    mistakes,
    rates,
    scatter,
)
from fer_utils.plots.style import (
    EMOTION_COLOURS,
    FIRST,
    MODEL_COLOURS,
    OTHER_COLOURS,
    PART_COLOURS,
    SECOND,
    SHARES,
    SPLIT_COLOURS,
    VERDICT_COLOURS,
    model_colour,
    panels,
    picture,
    use_style,
)
from fer_utils.plots.verdicts import claims
