"""Training: build, fit, score, record."""

from fer_utils.training.task import TRAINING_VERSION
from fer_utils.training.train import Training, main, run, run_protocols, runs_or_examples
