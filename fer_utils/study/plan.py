"""What a command line asks for, as the Snakefile's configuration, checked before anything runs."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

from fer_utils import config as parameters
from fer_utils.base import PARAMS, ROOT, ParameterError
from fer_utils.runs import committed

CHAPTERS = {
    "explore": "01_explore",
    "preprocess": "02_preprocess",
    "balance": "03_balance",
    "compare": "06_compare",
    "errors": "07_errors",
    "network": "09_fer_net",
    "report": "report",
}
AFTER_RUNS = ("compare", "errors", "network")  # chapters that show what the runs have left
OWN_NETWORKS = ("fer_net", "fer_net_large", "fer_net_ensemble")  # of the chapter `network`
FILES = ("photo", "landmarks", "votes")  # the parameters of notebooks that are paths of files
MODEL_NOTEBOOKS = {"train": "04_train", "classical": "05_classical", "ensemble": "05_ensemble"}


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration of the Snakefile for the given command line; ParameterError when wrong."""
    profile_name = options.profile or ("full" if options.data else "demo")
    if options.check_reference and profile_name != "full":
        raise ParameterError(f"--check-reference runs profile full, not {profile_name}")
    profile = parameters.profile(profile_name)
    one_seed = profile["seeds"][:1]
    if options.seeds:
        if options.check_reference:
            raise ParameterError("--check-reference repeats the reference's own seed: no --seeds")
        parameters.check_seeds("--seeds", *options.seeds)
        profile["seeds"] = options.seeds
    if profile_name.endswith((".yaml", ".yml")):
        profile_name = str(Path(profile_name).absolute())
    source = _source(options, profile, profile_name)
    folder = _absolute(options.results) if options.results else ROOT / "results"
    folder /= "check" if options.check_reference else Path(profile_name).stem
    from fer_utils.runs import claims

    claims.read()  # a wrong one is told now, not after the training
    found = sorted(folder.glob("runs/*/seed_*/metrics.json"))
    finished = [str(path.parent.relative_to(folder)) for path in found]
    models, chapters = _selection(options, profile, source, folder, finished)
    complete = {name: _complete(name, profile_name) for name in models}
    _check_members(complete, finished, profile["seeds"])
    for name in _ensembles_of(models, finished):  # finished ones follow their members
        more = complete | {name: _complete(name, profile_name)}
        with contextlib.suppress(ParameterError):  # or stay what they are
            _check_members(more, finished, profile["seeds"])
            models, complete = [*models, name], more
    # the classical systems draw nothing at random but the images of their grids, and an ensemble
    # averages all seeds of its members: the profile's first seed will do
    runs = [
        f"runs/{name}/seed_{seed}"
        for name in models
        for seed in (profile["seeds"] if "builder" in complete[name][0] else one_seed)
    ]
    kept = [run for run in finished if run not in runs]  # other models, or their other seeds
    _check_titles(complete, {model_of(run) for run in kept})
    report = not options.only or bool(models) or "report" in chapters
    targets = ["report.html"] if report else [f"{c}/notebook.ipynb" for c in chapters]
    if options.check_reference:
        chapters, kept = [], []
        targets = [f"runs/{name}/seed_{profile['seeds'][0]}/notebook.ipynb" for name in models]

    def executed(place: str) -> bool:
        return (folder / place / "notebook.ipynb").is_file()

    def stands_for(run: str) -> str:
        # a run that was trained without its notebook, or again since, has the record alone; that of
        # another seed of a selected model must not be made anew, which its notebook might be
        told = executed(run) and not trained_since(folder / run) and model_of(run) not in models
        return f"{run}/{'notebook.ipynb' if told else 'metrics.json'}"

    # a chapter that is there stays in the report, and is made anew when it must
    shown = [c for c in CHAPTERS if c in chapters or c == "compare" or executed(c)]
    if not {*OWN_NETWORKS} & {*models, *map(model_of, kept)}:
        shown = [chapter for chapter in shown if chapter != "network"]
    given = {
        name: {key: _own_value(name, key, value) for key, value in values.items()}
        for name, values in profile.get("notebooks", {}).items()
    }
    return {
        "python": sys.executable,
        "profile": profile_name,
        "data": source,
        "folder": str(folder),
        "models": models,
        "runs": runs,
        "jobs": profile.get("jobs", 1),
        "kept": [stands_for(run) for run in kept],
        "chapters": chapters,
        "targets": targets,
        "report_chapters": [chapter for chapter in shown if chapter != "report"],
        "preprocess_content": _preprocess_content(given.get("02_preprocess", {})),
        "photo_content": _photo_content(given.get("07_errors", {})),
        "classical": [name for name in models if "pipeline" in complete[name][0]],
        "ensembles": [name for name in models if "members" in complete[name][0]],
        "complete": complete,
        "parameters": _of_notebooks(options, given, source, folder, profile_name),
    }


def _source(options: argparse.Namespace, profile: dict[str, Any], profile_name: str) -> str:
    """Where the images come from: a name, or a path from the root."""
    source = options.data or profile.get("data")
    if source is None:
        raise ParameterError(f"profile {Path(profile_name).stem} needs your data: give --data PATH")
    if profile_name == "demo" and not source.startswith("synthetic"):
        raise ParameterError("profile demo is for the embedded faces; --data needs quick or full")
    if re.fullmatch(r"(synthetic|kaggle)(:.*)?", source):
        return source
    return str(_absolute(source))


def _own_value(name: str, key: str, value: Any) -> Any:
    """A notebook's parameter in a profile; paths are told from where the command is given."""
    if key not in FILES:
        return value
    if not isinstance(value, str):
        raise ParameterError(f"notebooks.{name}.{key} is {value!r} but must be a path, or empty")
    return str(_absolute(value)) if value else ""


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def trained_since(run: Path) -> bool:
    """Has a run of a study a record that is newer than its notebook?"""
    written = (run / "notebook.ipynb").stat().st_mtime
    return any(record.stat().st_mtime > written for record in run.rglob("metrics.json"))


def _selection(
    options: argparse.Namespace,
    profile: dict[str, Any],
    source: str,
    folder: Path,
    finished: list[str],
) -> tuple[list[str], list[str]]:
    """The models and chapters to run; `finished` are the runs that the study's folder has."""
    models = profile.get("models") or parameters.standard_models()
    chapters = list(CHAPTERS)
    known = [*parameters.names("models"), *CHAPTERS]
    for name in options.only or ():
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            if "," in name:
                hint = "several stand apart, without commas; "
            raise ParameterError(
                f"--only: unknown model or chapter '{name}'; {hint}known are {', '.join(known)}"
            )
    if options.only:
        models = [m for m in parameters.names("models") if m in options.only]
        chapters = [c for c in CHAPTERS if c in options.only]
    about_runs = {"compare", "errors", "report"} & set(chapters)
    synthetic = source.startswith("synthetic")
    if about_runs == {"errors"} and not synthetic and committed.available():
        about_runs = set()  # the committed network stands in
    if about_runs and not (models or finished):
        raise ParameterError(
            f"--only {' '.join(chapters)}: {folder} has no finished run; run models first"
        )
    if not {*OWN_NETWORKS} & {*models, *map(model_of, finished)}:
        if options.only and "network" in chapters:
            raise ParameterError(
                f"--only network: {folder} has no finished run of {', '.join(OWN_NETWORKS)}; "
                "run one first, or with it: --only fer_net network"
            )
        chapters = [chapter for chapter in chapters if chapter != "network"]
    return models, chapters


def model_of(run: str) -> str:
    """The model of a run's path in a study, runs/<model>/seed_<n>."""
    return Path(run).parts[1]


def _ensembles_of(models: list[str], finished: list[str]) -> list[str]:
    """The finished ensembles, not among some models, of which one of these is a member."""
    others = {model_of(run) for run in finished} - {*models}
    members = {name: _of_file(name).get("members", []) for name in _known(others)}
    return [name for name, of in members.items() if set(of) & set(models)]


def _known(models: set[str]) -> list[str]:
    """Those that still have a file."""
    return [name for name in parameters.names("models") if name in models]


def _of_file(model: str) -> dict[str, Any]:
    return parameters.read_yaml(PARAMS / "models" / f"{model}.yaml")


def _check_titles(complete: dict[str, list[dict[str, Any]]], others: set[str]) -> None:
    """ParameterError for two models of one title, which no table or figure could tell apart.

    `others` are those whose finished runs stay.
    """
    seen = {_of_file(name).get("title", name): name for name in _known(others)}
    for name, (params, *_) in complete.items():
        other = seen.setdefault(params["title"], name)
        if other != name:
            raise ParameterError(
                f"params/models/{name}.yaml: `title` is '{params['title']}', which {other} has too"
            )


def _check_members(
    complete: dict[str, list[dict[str, Any]]], finished: list[str], seeds: list[int]
) -> None:
    """ParameterError for an ensemble without two runs, finished or selected, of whole members."""
    for params, *_ in complete.values():
        members = params.get("members", ())
        selected = [name for name in members if name in complete]
        runs = {f"runs/{name}/seed_{seed}" for name in selected for seed in seeds}
        runs |= {run for run in finished if model_of(run) in members}
        if members and len(runs) < 2:
            raise ParameterError(
                f"{params['id']} needs two or more runs of {' or '.join(members)}, there would be "
                f"{len(runs)}; run them first, or with it, with more --seeds"
            )
        for name in selected:
            if complete[name][0]["training"]["train_limit"]:
                raise ParameterError(
                    f"{params['id']}: the profile's train_limit cuts its member {name}, each seed "
                    "to other images; an ensemble needs members that train on the same ones"
                )


def _of_notebooks(
    options: argparse.Namespace,
    given: dict[str, Any],
    source: str,
    folder: Path,
    profile_name: str,
) -> dict[str, dict[str, Any]]:
    """What every notebook is called with: the command line, over it the profile's own values."""
    shared = {"study": str(folder)}
    data = {**shared, "data": source}
    if options.on_bad != "error":
        data["on_bad"] = options.on_bad
    if options.resize:
        data["resize"] = True
    votes = {"votes": str(_absolute(options.votes))} if options.votes else {}
    profiled = {**data, "profile": profile_name}
    of = {
        "explore": {**data, **votes},
        "train": profiled,
        "classical": profiled,
        "errors": {**data, **votes},
        "network": {**data, **votes},
        "report": shared,
    }
    notebooks = {**CHAPTERS, **MODEL_NOTEBOOKS}
    return {name: of.get(name, data) | given.get(file, {}) for name, file in notebooks.items()}


def _preprocess_content(given: dict[str, Any]) -> list[Any]:
    """What the chapter on preprocessing depends on besides data and code."""
    from fer_utils.base import DataError
    from fer_utils.data import preprocess
    from fer_utils.training import ablation

    content: list[Any] = [parameters.model(ablation.MODEL)["training"]]
    try:
        model = preprocess.landmark_model(given.get("landmarks", ""))
        content.append([str(model), model.stat().st_size])
    except DataError:
        content.append("no landmark model")
    return [*content, _photo_content(given)]


def _photo_content(given: dict[str, Any]) -> str:
    """One hash of the photo's pixels; DataError for a wrong one, before anything runs."""
    from fer_utils.data import preprocess

    if not given.get("photo"):
        return ""
    return hashlib.sha256(preprocess.read_photo(given["photo"]).tobytes()).hexdigest()


def _complete(name: str, profile_name: str) -> list[dict[str, Any]]:
    """What a model will be run with, under each of its protocols."""
    from fer_utils.training import transfer
    from fer_utils.training.task import check_network

    params = parameters.model(name, profile_name)
    check_network(params)
    if "builder" not in params:
        return [params]
    return [transfer.settle(each) for each in parameters.protocols(name, profile_name)]
