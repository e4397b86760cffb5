"""Parameter files: study defaults, profiles and models, checked before anything runs."""

from __future__ import annotations

import copy
import difflib
import json
import math
from pathlib import Path
from typing import Any

from fer_utils.base import (
    PARAMS,
    ParameterError,  # noqa: F401
)

GRIDS = {  # what the grid of each classical pipeline names
    "pca_knn": ("components", "k", "weights"),
    "hog_svm": ("features", "components", "kernel", "C"),
}
SCHEMAS = Path(__file__).resolve().parent / "schemas"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping with the safe loader; ParameterError names file and line."""
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        repeated = _repeated_key(yaml.compose(text, yaml.SafeLoader))
    except FileNotFoundError:
        raise ParameterError(f"{path}: there is no such parameter file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ParameterError(f"{path}{line}: {problem}") from None
    if repeated:
        raise ParameterError(f"{path}, line {repeated[1]}: `{repeated[0]}` is given twice")
    if not isinstance(content, dict):
        raise ParameterError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content


def _repeated_key(node: Any) -> tuple[str, int] | None:
    """The first key that a mapping of the YAML tree has twice, and its line."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                return key.value, key.start_mark.line + 1
            seen.add(key.value)
            if found := _repeated_key(value):
                return found
    if isinstance(node, yaml.SequenceNode):
        return next(filter(None, map(_repeated_key, node.value)), None)
    return None


def check(content: dict[str, Any], schema: str, where: str) -> None:
    """Check `content` against a schema of fer_utils/schemas; ParameterError names the fault."""
    import jsonschema

    rules = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(rules)
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        raise ParameterError(f"{where}: {_explain(error)}")
    if key := _not_finite(content):
        raise ParameterError(f"{where}: `{key}` is not a finite number")


def check_seeds(what: str, *seeds: int) -> None:
    """ParameterError for a seed that NumPy or Keras would refuse, or one given twice."""
    if min(seeds) < 0 or max(seeds) >= 2**32 or len(set(seeds)) < len(seeds):
        told = ", ".join(map(str, seeds))
        raise ParameterError(f"{what}: {told}; give whole numbers from 0 to 4294967295, each once")


def _not_finite(content: Any, key: str = "") -> str:
    """The key of the first NaN or infinite number, which no bound of a schema catches."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    if isinstance(content, dict):
        found = (_not_finite(v, f"{key}.{k}" if key else str(k)) for k, v in content.items())
        return next(filter(None, found), "")
    return key if isinstance(content, float) and not math.isfinite(content) else ""


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    value = error.instance
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(value) - set(known))[0]
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        return f"unknown parameter `{'.'.join(filter(None, [key, str(unknown)]))}`; {hint}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in value]
        return f"`{'.'.join(filter(None, [key, missing[0]]))}` is missing"
    if error.validator == "type":
        wanted = error.validator_value
        wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
        if isinstance(value, str) and ("number" in wanted or "integer" in wanted):
            remedy = _as_number(value, wanted)
            return f"`{key}` is the text {value!r} but must be of type {wanted}; {remedy}"
        return f"`{key}` is {value!r} but must be of type {wanted}"
    if error.validator == "enum":
        return f"`{key}` is {value!r}; valid are {', '.join(map(str, error.validator_value))}"
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "greater than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    if error.validator in bounds:
        return f"`{key}` is {value} but must be {bounds[error.validator]} {error.validator_value}"
    return f"`{key}`: {error.message}"


def _as_number(text: str, wanted: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return "write a number without quotes"
    if "integer" in wanted or number >= 1 or number == 0:
        return f"write it without quotes, {number:g}"
    mantissa, _, exponent = f"{number:e}".partition("e")
    mantissa = mantissa.rstrip("0")
    mantissa += "0" if mantissa.endswith(".") else ""
    return f"write it without quotes and with a decimal point, {mantissa}e{int(exponent)}"


def names(folder: str) -> list[str]:
    """Names of the parameter files in params/<folder> ("models" or "profiles"), sorted."""
    return sorted(path.stem for path in (PARAMS / folder).glob("*.yaml"))


def standard_models() -> list[str]:
    """The models that a study runs when none is named: all but those on request."""
    return [
        name
        for name in names("models")
        if not read_yaml(PARAMS / "models" / f"{name}.yaml").get("on_request")
    ]


def _named(folder: str, kind: str, name: str) -> Path:
    known = names(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParameterError(f"unknown {kind} '{name}'; {hint}known are {', '.join(known)}")
    return PARAMS / folder / f"{name}.yaml"


def _check_network(content: dict[str, Any], where: str) -> None:
    """Builder, its options and the classes exist; nothing is built, no backend imported."""
    from fer_utils import data as datasets
    from fer_utils import models
    from fer_utils.data.readers import EMOTION_FOLDERS

    try:
        if "builder" in content:
            models.check(content["builder"], content.get("options", {}))
        elif set(content["training"]["grid"]) != set(GRIDS[content["pipeline"]]):
            keys = ", ".join(GRIDS[content["pipeline"]])
            raise ParameterError(f"`training.grid` of {content['pipeline']} needs exactly {keys}")
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None
    training = content["training"]
    if training.get("one_cycle") is not None and training.get("reduce_lr"):
        raise ParameterError(f"{where}: `training.one_cycle` and `training.reduce_lr` both set the "
                             "learning rate; leave one out")  # fmt: skip
    if training.get("mixing") and training.get("balance") == "class_weights":
        raise ParameterError(f"{where}: `training.balance` is class_weights, but `training.mixing` "
                             "makes images of two classes; leave one out")  # fmt: skip
    for name in content.get("classes") or []:
        if name.lower() not in EMOTION_FOLDERS:
            known = ", ".join(datasets.EMOTIONS)
            raise ParameterError(f"{where}: unknown class '{name}'; known are {known}")


def profile(name: str) -> dict[str, Any]:
    """Checked content of params/profiles/<name>.yaml, or of a profile's path, over the defaults."""
    own = name.endswith((".yaml", ".yml"))
    path = Path(name) if own else _named("profiles", "profile", name)
    content = read_yaml(path)
    check(content, "profile", str(path))
    defaults = read_yaml(PARAMS / "study.yaml")
    check(defaults, "profile", str(PARAMS / "study.yaml"))
    # the study's training defaults lie below the models' own values, the profile's above them
    merged = merge({k: v for k, v in defaults.items() if k != "training"}, content)
    check_seeds(f"{path}: `seeds`", *merged["seeds"])
    for model in merged.get("models", []):
        _named("models", f"model in {path.name}", model)
    for model in merged.get("per_model", {}):
        _named("models", f"model in {path.name} per_model", model)
    return merged


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """A copy of `below` with the entries of `above` laid over it, mappings merged in depth."""
    result = copy.deepcopy(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def used(training: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what it leaves off; records have keys that are no longer known, as null."""
    return {key: value for key, value in training.items() if value is not None}


def model(
    source: str | Path,
    profile_name: str | None = None,
    protocol: str = "official",
    options: dict[str, Any] | None = None,
    **training: Any,
) -> dict[str, Any]:
    """Complete parameters of one model as they will be run under a protocol.

    `source` is a model id or the path of its file. `protocol` is "official", the common one, or
    "paper", the one that the file names. On top of the file come the limits of the profile
    (`training` for all models, `per_model.<id>`, `paper_protocol`), then the builder's `options`
    and the keyword arguments.
    """
    text = str(source)
    path = Path(text) if text.endswith((".yaml", ".yml")) else _named("models", "model", text)
    content = read_yaml(path)
    schema = "classical" if "pipeline" in content else "model"
    schema = "ensemble" if "members" in content else schema
    check(content, schema, str(path))
    if content["id"] != path.stem:
        raise ParameterError(f"{path}: `id` is '{content['id']}' but must be the file's name")
    if schema == "ensemble":  # whatever the profile: its members are what is cut
        if profile_name and content["id"] in profile(profile_name).get("per_model", {}):
            raise ParameterError(f"profile {profile_name}: per_model.{content['id']}: an ensemble "
                                 "has no limits of its own; give them to its members")  # fmt: skip
        for member in content["members"]:
            of = read_yaml(_named("models", f"member in {path.name}", member))
            if "builder" not in of or "classes" in of:
                raise ParameterError(f"{path}: `members`: {member} is no network of all classes")
        settled = {"keep_best": "last", "train_limit": None}
        return content | {"training": settled, "paper_protocol": content["protocol"]}
    _check_network(content, str(path))
    result = content
    if schema == "model":
        defaults = read_yaml(PARAMS / "study.yaml").get("training", {})
        result = merge({"options": {}, "classes": None, "training": defaults}, content)
        scratch = merge(result, result.get("from_scratch", {}))
        where = f"{path}: from_scratch"
        check({k: v for k, v in scratch.items() if v is not None}, schema, where)
        _check_network(scratch, where)
    own = result["protocol"]
    result["protocol"] = own if protocol == "paper" else "official"
    given = {"training": training} | ({"options": options} if options else {})
    layers = [(f"{path.name} with the given options", given)]
    if profile_name:
        layers = [*_limits(profile_name, result, schema), *layers]
    for where, layer in layers:
        result = merge(result, layer)
        if "from_scratch" in result:  # limits hold there too
            result["from_scratch"] = merge(result["from_scratch"], layer)
        check({k: v for k, v in result.items() if v is not None}, schema, where)
        _check_network(result, where)
    return result | {"paper_protocol": own}


def _limits(profile_name: str, content: dict[str, Any], schema: str) -> list[tuple[str, dict]]:
    """What a profile lays over a model, each with the place that a message names."""
    layout = profile(profile_name)
    own = dict(layout.get("per_model", {}).get(content["id"], {}))
    options = own.pop("options", {})
    where = f"profile {profile_name}: "
    if schema == "classical":  # epochs and the like mean nothing to it
        if options:
            raise ParameterError(f"{where}per_model.{content['id']}: `options` are a network's")
        return [(f"{where}per_model.{content['id']}", {"training": own})]
    layers = [(f"{where}per_model.{content['id']}", {"training": own, "options": options})]
    shared = dict(layout.get("training", {}))
    if isinstance(shared.get("epochs"), int):  # a profile cuts; what a file asks less of stays
        shared["epochs"] = min(shared["epochs"], content["training"]["epochs"])
    layers = [(f"{where}training", {"training": shared}), *layers]
    if content["protocol"] != "official":
        cut = {"training": layout.get("paper_protocol", {})}
        layers.append((f"{where}paper_protocol", cut))
    return layers


def protocols(
    source: str | Path, profile_name: str | None = None, **training: Any
) -> list[dict[str, Any]]:
    """Complete parameters of a network under the common protocol and, where it differs, its own."""
    common, own = (
        model(source, profile_name, protocol, **training) for protocol in ("official", "paper")
    )
    if "builder" not in common:
        notebook = "05_classical" if "pipeline" in common else "05_ensemble"
        raise ParameterError(f"{common['id']} is no network; {notebook} runs it")
    return [common] if own["protocol"] == "official" else [common, own]
