"""Training: build, compile, fit, score, record."""

from fer_utils.training.protocols import run, run_protocols, runs_or_examples
from fer_utils.training.task import TRAINING_VERSION
