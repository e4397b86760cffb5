"""Changes of a recipe, one at a time, scored on PublicTest and never on PrivateTest.

python -m fer_utils.trials --data PATH [--only NAME ...] [--record]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import (
    claims,
    datasets,
    devices,
    inference,
    lineage,
    parameters,
    predecessors,
    results,
    training,
    transfer,
)
from fer_utils.base import AFTER_EPOCH, status
from fer_utils.parameters import PARAMS, ROOT, ParameterError, check_seeds
from fer_utils.results import VIEWS

FILE = PARAMS / "trials.yaml"
RECORD = ROOT / "results" / "reference" / "trials.csv"


def read(path: str | Path = FILE) -> dict[str, dict[str, Any]]:
    """Complete parameters of every trial by its name, the unchanged recipe first.

    Each trains on Training and is tested on PublicTest. ParameterError names what is wrong.
    """
    content = parameters.read_yaml(path)
    parameters.check(content, "trials", str(path))
    base = parameters.model(content["model"])
    if "builder" not in base:
        raise ParameterError(f"{path}: `model` is {content['model']}, which is no network")
    made: dict[str, dict[str, Any]] = {}
    for name, change in content["trials"].items():
        recipe = parameters.merge(content["training"], change.get("training", {}))
        if unknown := sorted(recipe.keys() - base["training"].keys()):
            raise ParameterError(
                f"{path}: trial {name}: unknown parameter `training.{unknown[0]}`; known are "
                f"{', '.join(sorted(base['training']))}"
            )
        try:
            params = parameters.model(content["model"], options=change.get("options"), **recipe)
        except ParameterError as error:
            raise ParameterError(f"{path}: trial {name}: {error}") from None
        params |= {"id": name, "title": f"{params['title']}, {name.replace('_', ' ')}"}
        made[name] = params | {"protocol": "publictest", "paper_protocol": "publictest"}
        unchanged = next(iter(made.values()))
        if (params["id"] == unchanged["id"]) != (not change):
            raise ParameterError(f"{path}: the first trial, and it alone, changes nothing")
    return made


def change(params: dict[str, Any], other: dict[str, Any]) -> str:
    """What `other` has in place of a recipe, as YAML on one line."""
    import yaml

    changed = {
        key: other[part].get(key)
        for part in ("options", "training")
        for key in sorted(params[part].keys() | other[part].keys())
        if params[part].get(key) != other[part].get(key)
    }
    changed = lineage.replaced(changed, lambda _, told: told["run"])  # which tells enough
    written = yaml.safe_dump(changed, default_flow_style=True, width=1000, sort_keys=False)
    return written.strip()[1:-1]


def table(
    runs: list[results.Run], unchanged: dict[str, Any], bases: dict[str, pd.Series]
) -> pd.DataFrame:
    """The rows of trials.csv: accuracy on PublicTest, gain over the unchanged recipe, cost.

    Intervals are 95 %: Wilson for an accuracy; for a gain, paired on the same images, over the
    unchanged recipe of the same seed, or over the network that a trial starts from, where that is
    among the `bases` (`right_about`, `_starts`).
    """
    rows = []
    for run in runs:
        record, test = run.metrics, run.test
        views = record["scores"].get(record["protocol"]["test"] + VIEWS, {})
        start = record["params"]["training"].get("start_from")
        of = start["sha256"] if start else _identity(record | {"params": unchanged})
        base, gain = bases.get(of), (None,) * 3
        if record["run_id"] != unchanged["id"] and base is not None:
            gain = claims.difference(claims.right(run), base)
        rows.append(
            {
                "trial": record["run_id"],
                "change": change(unchanged, record["params"]),
                "seed": record["seed"],
                "epochs": record["model"]["epochs_run"],
                "parameters": record["model"]["parameters"],
                "n": test["n"],
                "accuracy": test["accuracy"],
                "accuracy_low": test["accuracy_low"],
                "accuracy_high": test["accuracy_high"],
                "accuracy_views": views.get("accuracy"),
                **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
                "minutes": round(record["timing"]["training_seconds"] / 60, 1),
                "precision": record["environment"]["precision"],
                "processor": record["environment"]["processor"],
                "git_commit": record["environment"]["git_commit"],
            }
        )
    return pd.DataFrame(rows)


def right_about(runs: list[results.Run]) -> dict[str, pd.Series]:
    """Which images each run is right about, by a hash of parameters, seed, images and precision."""
    return {_identity(run.metrics): claims.right(run) for run in runs}


def _identity(record: dict[str, Any]) -> str:
    of = [_used(record["params"]), record["seed"]]
    of += [record["data"]["content_sha256"], record["environment"]["precision"]]
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:24]


def _used(params: dict[str, Any]) -> dict[str, Any]:
    # a parameter that came later is null where it is not used
    training = {key: value for key, value in params["training"].items() if value is not None}
    return params | {"training": training}


def _starts(runs: list[results.Run], dataset: datasets.Dataset) -> dict[str, pd.Series]:
    """Which images the networks that some of the runs start from are right about, by their hash."""
    found = {}
    for run in runs:
        if told := run.metrics["params"]["training"].get("start_from"):
            data, protocol = run.metrics["data"]["content_sha256"], run.metrics["protocol"]
            place = predecessors.checked(told, "start_from", data, protocol["name"])
            of = run.predictions(protocol["test"])
            with devices.exact():
                predict = inference.of_network(predecessors.network(place))
                answers = predict(dataset.images[of["index"]])
            right = answers.argmax(axis=1) == of["labels"]
            found[told["sha256"]] = pd.Series(right, of["index"]).sort_index()
    return found


def run(
    chosen: list[str],
    dataset: datasets.Dataset,
    study: str | Path,
    seed: int = 0,
    known: dict[str, pd.Series] | None = None,
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Train the trials that are not finished, and write trials.csv of all in the study's folder.

    All that have these images and the parameters that the file has now. Gains are over the
    unchanged recipe's runs there, or else over those that are `known`, or over the network that a
    trial starts from; what the first are right about comes with the table.
    """
    trials, listed = {}, read()
    order = list(listed)
    for name, params in listed.items():
        try:
            trials[name] = predecessors.settle(transfer.settle(params), study, seed)
        except ParameterError:  # what it builds on is not here
            if name in chosen or name == order[0]:
                raise
    for name in chosen:
        print(f"\n{name}, seed {seed}", flush=True)
        done = training.run(trials[name], dataset, study, seed, say=lambda line: print(f"  {line}"))
    data = done.metrics["data"]["content_sha256"]
    found = [
        run
        for run in results.finished_runs(study, trials)
        if run.metrics["data"]["content_sha256"] == data
        and _used(run.metrics["params"]) == _used(trials[run.metrics["run_id"]])
    ]
    found.sort(key=lambda run: (run.metrics["seed"], order.index(run.metrics["run_id"])))
    bases = right_about([run for run in found if run.metrics["run_id"] == order[0]])
    made = table(found, trials[order[0]], {**(known or {}), **bases, **_starts(found, dataset)})
    results.save_table(made, results.study_folder(study) / "trials.csv")
    return made, bases


def recorded(path: Path = RECORD) -> dict[str, pd.Series]:
    """What recorded runs of the unchanged recipe are right about, from trials.npz beside the table.

    ResultError for a damaged file.
    """
    path = path.with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return {
            name: pd.Series(np.unpackbits(bits, count=len(index)).astype(bool), index)
            for name, bits in arrays.items()
            if (index := arrays.get(f"{name}/index")) is not None
        }
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise results.ResultError(
            f"{path}: cannot be read ({error}); delete it, or bring it back with git checkout"
        ) from None


def record(made: pd.DataFrame, bases: dict[str, pd.Series], path: Path = RECORD) -> pd.DataFrame:
    """Enter rows in the reference's trials.csv, in place of earlier ones of the same trials.

    Beside it trials.npz keeps, a bit for each image, what the unchanged recipe's runs are right
    about, so that a trial on another day has a gain.
    """
    bases = recorded(path) | bases
    if path.is_file():
        made = pd.concat([pd.read_csv(path), made])
    made = made.drop_duplicates(["trial", "seed"], keep="last")
    results.save_table(made, path)
    if bases:
        arrays = {name: np.packbits(right.to_numpy(bool)) for name, right in bases.items()}
        arrays |= {f"{name}/index": right.index.to_numpy() for name, right in bases.items()}
        path = path.with_suffix(".npz")
        with results.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)
    return made


def _try(options: argparse.Namespace) -> None:
    devices.start()
    trials = read()
    check_seeds("--seed", options.seed)
    for name in options.only or ():
        if name not in trials:
            raise ParameterError(f"--only: no trial '{name}'; there are {', '.join(trials)}")
    dataset = datasets.load(options.data)
    if options.record:
        totals = dict(zip(*np.unique(dataset.usage, return_counts=True), strict=True))
        synthetic = dataset.provenance.get("synthetic")
        if why := "synthetic faces" if synthetic else claims.not_fer2013(totals):
            raise ParameterError(f"--record: {options.data} is no reference: {why}")
    study = Path(options.results).absolute()
    chosen = options.only or list(trials)
    made, bases = run(chosen, dataset, study, options.seed, recorded())
    if options.record:
        record(made, bases)
    first, of_seed = next(iter(trials)), made[made["seed"] == options.seed]
    if of_seed["gain"].isna().any() and first not in {*of_seed["trial"]}:
        print(
            f"\nno gain without the unchanged recipe of the same seed and precision: "
            f"--only {first} --seed {options.seed}"
        )
    print(f"\n{made[['trial', 'accuracy', 'gain', 'minutes']].to_string(index=False)}")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fer_utils.trials", description=__doc__)
    parser.add_argument("--data", required=True, help="as in run_all.sh")
    parser.add_argument("--results", default="results/trials", help="folder of the trials' runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these trials (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--record", action="store_true", help="enter the rows in results/reference/trials.csv"
    )
    options = parser.parse_args(arguments)
    return status(lambda: _try(options), AFTER_EPOCH)


if __name__ == "__main__":
    sys.exit(main())
