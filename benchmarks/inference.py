"""Images per second of every network's prediction, one image at a time and 256 at once.

python benchmarks/inference.py [ID ...] [--seconds 3] [--csv results/reference/inference.csv]

The networks have random weights, on which the speed does not depend, and compute in float32. Run it
on a machine without other work.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fer_utils import config, models
from fer_utils.extras import speed
from fer_utils.models import devices
from fer_utils.runs import predictors, provenance


def measured(run_id: str, seconds: float) -> dict:
    """A row of the table for one network, as its parameter file builds it."""
    params = config.model(run_id)
    network = models.build(
        params["builder"], classes=len(params["classes"] or range(7)), **params["options"]
    )
    predict = predictors.of_network(network)
    images = np.random.default_rng(0).integers(0, 256, (256, 48, 48), np.uint8)
    row = {"run_id": run_id, "seed": 0, "form": "Keras", "parameters": network.count_params()}
    row |= {
        f"batch_{batch}": speed.images_per_second(predict, images, batch, seconds)
        for batch in predictors.BATCHES
    }
    machine = provenance.environment()
    return row | {key: machine[key] for key in ("processor", "cores", "git_commit")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="ID")
    parser.add_argument("--seconds", type=float, default=3.0, help="longest measurement of a batch")
    parser.add_argument("--csv", type=Path, help="write the table here")
    options = parser.parse_args()
    devices.quiet()
    networks = [name for name in config.names("models") if "builder" in config.model(name)]
    table = pd.DataFrame([measured(name, options.seconds) for name in options.models or networks])
    print(table.drop(columns=["form", "seed", "git_commit"]).to_string(index=False))
    if options.csv:
        table.to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
