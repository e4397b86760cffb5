"""python -m fer_utils.training params/models/<id>.yaml --data PATH --results DIR"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils.base import AFTER_EPOCH, status
from fer_utils.models import devices
from fer_utils.runs import store
from fer_utils.training import run_protocols


def _run(options: argparse.Namespace) -> None:
    limits = {} if options.epochs is None else {"epochs": options.epochs}
    devices.start()
    parameters.check_seeds("--seed", options.seed)
    complete = parameters.protocols(options.params, options.profile, **limits)
    if options.protocol:
        complete = complete[:1] if options.protocol == "official" else complete[-1:]
    dataset = datasets.load(options.data, options.on_bad, resize=options.resize)
    study = Path(options.results).absolute()
    made_up = ", synthetic faces, not FER2013" if dataset.provenance.get("synthetic") else ""
    print(
        f"{complete[0]['id']} on {options.data} ({len(dataset):,} images{made_up}), "
        f"run folder {store.run_folder(study, complete[0]['id'], options.seed)}",
        flush=True,
    )
    print(devices.sentence(complete[0]["training"].get("precision", "auto")), flush=True)
    runs = run_protocols(complete, dataset, study, options.seed)
    for finished in runs:
        protocol, test = finished.metrics["protocol"], finished.test
        print(
            f"{finished.folder}: {test['accuracy']:.1%} of {test['n']:,} {protocol['test']} "
            f"images right ({test['accuracy_low']:.1%} to {test['accuracy_high']:.1%}), "
            f"{protocol['name']} protocol"
        )


def main(arguments: list[str] | None = None) -> int:
    """Command line of the headless training; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.training",
        description="Train one model without a notebook and write its run folder.",
    )
    parser.add_argument("params", help="params/models/<id>.yaml")
    parser.add_argument("--data", required=True, help="as in run_all.sh, or synthetic")
    parser.add_argument(
        "--results",
        default="results/full",
        help="study folder (default: %(default)s); the run goes to runs/<id>/seed_<n> in it",
    )
    parser.add_argument("--profile", help="apply the limits of this profile, as run_all.sh does")
    parser.add_argument("--on-bad", choices=["error", "skip"], default="error")
    parser.add_argument("--resize", action="store_true", help="scale images of other sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--protocol",
        choices=["official", "paper"],
        help="the common protocol or the paper's own only (default: both)",
    )
    options = parser.parse_args(arguments)
    return status(lambda: _run(options), AFTER_EPOCH)


if __name__ == "__main__":
    sys.exit(main())
