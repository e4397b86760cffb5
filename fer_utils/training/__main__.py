"""python -m fer_utils.training params/models/<id>.yaml --data PATH --results DIR"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_utils import config, data
from fer_utils.base import AFTER_EPOCH, status
from fer_utils.models import devices
from fer_utils.runs import store
from fer_utils.training import run_protocols


def _run(options: argparse.Namespace) -> None:
    limits = {} if options.epochs is None else {"epochs": options.epochs}
    devices.start()
    config.check_seeds("--seed", options.seed)
    complete = config.protocols(options.params, options.profile, **limits)
    if options.protocol:
        complete = complete[:1] if options.protocol == "official" else complete[-1:]
    dataset = data.load(options.data, options.on_bad, resize=options.resize)
    study, name = Path(options.results).absolute(), complete[0]["id"]
    made_up = ", synthetic faces, not FER2013" if dataset.provenance.get("synthetic") else ""
    place = store.run_folder(study, name, options.seed)
    print(f"{name} on {options.data} ({len(dataset):,} images{made_up}), run folder {place}")
    print(devices.sentence(complete[0]["training"].get("precision", "auto")), flush=True)
    for run in run_protocols(complete, dataset, study, options.seed):
        protocol, test = run.metrics["protocol"], run.test
        print(
            f"{run.folder}: {test['accuracy']:.1%} of {test['n']:,} {protocol['test']} images "
            f"right ({test['accuracy_low']:.1%} to {test['accuracy_high']:.1%}), "
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
    parser.add_argument("--results", default="results/full", help="the study's folder")
    parser.add_argument("--profile", help="apply the limits of this profile, as run_all.sh does")
    parser.add_argument("--on-bad", choices=["error", "skip"], default="error")
    parser.add_argument("--resize", action="store_true", help="scale images of other sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    names = ["official", "paper"]
    parser.add_argument("--protocol", choices=names, help="the common or the paper's own alone")
    options = parser.parse_args(arguments)
    return status(lambda: _run(options), AFTER_EPOCH)


if __name__ == "__main__":
    sys.exit(main())
