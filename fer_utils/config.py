"""Parameter files: every key with its type and bounds; study defaults, profiles and models.

params/study.yaml, the model's file, the profile and the command line are laid in this order.
"""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from fer_utils.base import PARAMS, ROOT, ParameterError, read_yaml

GRIDS = {  # axes of each grid
    "pca_knn": ("components", "k", "weights"),
    "hog_svm": ("features", "components", "kernel", "C"),
}
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Between = Annotated[float, Field(gt=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Monitor = Literal["val_loss", "val_accuracy"]
Text = Annotated[str, Field(min_length=1)]


def _unique(values: list[Any]) -> list[Any]:
    if twice := next((v for i, v in enumerate(values) if v in values[:i]), None):
        raise ValueError(f"{twice!r} is given twice")
    return values


Names = Annotated[list[str], Field(min_length=1), AfterValidator(_unique)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class EarlyStopping(Strict):
    monitor: Monitor
    patience: Count  # epochs without improvement


class ReduceLR(Strict):
    monitor: Monitor
    factor: Between  # of the learning rate
    patience: Count
    minimum: NotNegative = 0.0


class OneCycle(Strict):
    rise: Between = 0.3  # share of the steps in which the learning rate rises


class Mixing(Strict):
    kind: Literal["mixup", "cutmix"]
    alpha: Positive  # of the Beta distribution
    share: Share  # of the images that are mixed


class Views(Strict):
    shift: Annotated[int, Field(ge=1, le=12)] | None = None  # pixels
    rotation: Annotated[float, Field(gt=0, le=45)] | None = None  # degrees
    zoom: Annotated[float, Field(gt=0, le=0.5)] | None = None  # share


class Augmentation(Strict):
    rotation: Annotated[float, Field(ge=0, le=180)] = 0  # degrees either way
    width_shift: Share = 0  # share of the width
    height_shift: Share = 0
    shear: Annotated[float, Field(ge=0, le=45)] = 0  # degrees
    zoom: Annotated[  # a share either way, or the smallest and largest factor
        Annotated[list[Positive], Field(min_length=2, max_length=2), Tag("list")]
        | Annotated[BelowOne, Tag("number")],
        Discriminator(lambda value: "list" if isinstance(value, list) else "number"),
    ] = 0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness: BelowOne = 0  # share either way
    contrast: BelowOne = 0
    erasing: Share = 0  # share of the images that lose a rectangle


class Recipe(Strict):
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: BelowOne = 0.9  # of sgd, Nesterov's
    weight_decay: NotNegative | None = None  # decoupled
    weight_average: Between | None = None  # momentum of the averaged weights
    one_cycle: OneCycle | None = None
    label_smoothing: BelowOne = 0.0
    mixing: Mixing | None = None
    leave_out: Annotated[
        list[Literal["constant", "copies"]], AfterValidator(_unique)
    ] = []  # of the training images
    views: Views | None = None  # averaged in a further score
    preprocess: Literal["equalize", "clahe"] | None = None  # of every image
    pixels: Literal["rescale", "standardize"] = "rescale"
    balance: Literal["none", "class_weights", "augment"] = "none"
    balance_target: Count = 5000  # images a class
    keep_best: Literal["val_loss", "val_accuracy", "last"] = "val_loss"
    weights: str | None = None  # of a transferred base: imagenet, or a path
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    train_limit: Count | None = None  # images
    early_stopping: EarlyStopping | None = None
    reduce_lr: ReduceLR | None = None
    augmentation: Augmentation | None = None


class Axes(Strict):
    components: list[Annotated[int, Field(ge=1, le=360)]] | None = Field(None, min_length=1)
    k: list[Count] | None = Field(None, min_length=1)  # neighbours
    weights: list[Literal["uniform", "distance"]] | None = Field(None, min_length=1)
    features: list[Literal["hog", "lbp", "hog+lbp"]] | None = Field(None, min_length=1)
    kernel: list[Literal["linear", "rbf"]] | None = Field(None, min_length=1)
    C: list[Positive] | None = Field(None, min_length=1)


class Grid(Strict):
    grid: Axes
    grid_limit: Count | None  # images of the search
    keep_best: Literal["val_accuracy"]
    train_limit: Count | None


class File(Strict):
    id: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    title: Text
    paper: Text
    default: bool = True  # else the study runs it with --only alone


class Scratch(Strict):
    title: Text | None = None
    options: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Network(File):
    builder: str
    options: dict[str, Any] = {}  # of the builder
    classes: Names | None = None
    protocol: Literal["official", "publictest", "holdout", "kaggle", "pooled"]
    from_scratch: Scratch | None = None  # where there are no weights
    training: Recipe


class Classical(File):
    pipeline: Literal["pca_knn", "hog_svm"]
    protocol: Literal["official"]
    training: Grid


class Profile(Strict):
    description: str
    data: str | None = None
    jobs: Count = 1  # notebooks at once
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    models: Names | None = None
    training: dict[str, Any] = {}  # of every network
    paper_protocol: dict[str, Any] = {}  # of runs under a paper's own protocol
    per_model: dict[str, dict[str, Any]] = {}
    notebooks: dict[str, dict[str, Any]] = {}  # parameters of notebooks


def validate(content: dict[str, Any], kind: type[Strict], where: str) -> None:
    """ParameterError that names `where`, key, value and what is right."""
    try:
        kind.model_validate(content)
    except ValidationError as error:
        raise ParameterError(f"{where}: {_explain(error.errors()[0], kind)}") from None


def _explain(error: dict[str, Any], kind: type[Strict]) -> str:
    path = [str(part) for part in error["loc"] if part not in ("list", "number")]
    key, value, context = ".".join(path), error["input"], error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known = _keys(kind, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known))}"
        return f"unknown parameter `{key}`; {hint}"
    if error["type"] == "missing":
        return f"`{key}` is missing"
    if error["type"] == "finite_number":
        return f"`{key}` is not a finite number"
    if error["type"] == "literal_error":
        valid = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"`{key}` is {value!r}; valid are {valid}"
    bounds = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
    for name, words in bounds.items():
        if name in context:
            return f"`{key}` is {value} but must be {words} {context[name]:g}"
    if error["type"] == "value_error":
        return f"`{key}`: {context['error']}"
    wanted = error["msg"].removeprefix("Input should be a valid ").removeprefix("Input should be ")
    if isinstance(value, str) and wanted in ("integer", "number"):
        return f"`{key}` is the text {value!r} but must be of type {wanted}; {_as_number(value)}"
    return f"`{key}` is {value!r} but must be {wanted}"


def _keys(kind: Any, path: list[str]) -> list[str]:
    """The keys of the section at a path of nested models, mappings and lists."""
    for part in (part for part in path if not part.isdigit()):
        if getattr(kind, "__origin__", None) is dict:
            kind = kind.__args__[1]
            continue
        kind = kind.model_fields[part].annotation
        if getattr(kind, "__origin__", None) is not dict:
            kind = next((each for each in getattr(kind, "__args__", ()) if each), kind)
    return list(kind.model_fields)


def _as_number(text: str) -> str:
    try:
        return f"write it without quotes, {float(text):g} (YAML needs 1.0e-3, 1e-3 is a text to it)"
    except ValueError:
        return "write a number without quotes"


def check_seeds(what: str, *seeds: int) -> None:
    """ParameterError for a seed that NumPy or Keras would refuse, or one given twice."""
    if min(seeds) < 0 or max(seeds) >= 2**32 or len(set(seeds)) < len(seeds):
        told = ", ".join(map(str, seeds))
        raise ParameterError(f"{what}: {told}; give integers from 0 to 4294967295, each once")


def names(folder: str) -> list[str]:
    """Names of the parameter files in params/<folder> ("models" or "profiles"), sorted."""
    return sorted(path.stem for path in (PARAMS / folder).glob("*.yaml"))


def standard_models() -> list[str]:
    """The models that a study runs when none is named: all default ones."""
    files = {name: read_yaml(PARAMS / "models" / f"{name}.yaml") for name in names("models")}
    return [name for name, content in files.items() if content.get("default", True)]


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"known are {', '.join(known)}"


def _named(folder: str, kind: str, name: str) -> Path:
    known = names(folder)
    if name not in known:
        raise ParameterError(f"unknown {kind} '{name}'; {_nearest(name, known)}")
    return PARAMS / folder / f"{name}.yaml"


def _check_recipe(content: dict[str, Any], where: str) -> None:
    """What no type says: the axes of a grid, settings that contradict each other."""
    training, fault = content["training"], ""
    if "grid" in training and set(training["grid"]) != set(GRIDS[content["pipeline"]]):
        keys = ", ".join(GRIDS[content["pipeline"]])
        fault = f"`training.grid` of {content['pipeline']} needs exactly {keys}"
    elif training.get("one_cycle") is not None and training.get("reduce_lr"):
        fault = "`training.one_cycle` and `training.reduce_lr` both set the learning rate"
    elif training.get("mixing") and training.get("balance") == "class_weights":
        fault = "`training.mixing` makes images of two classes, `training.balance` weighs one"
    if fault:
        raise ParameterError(f"{where}: {fault}")


def profile(name: str) -> dict[str, Any]:
    """Checked content of params/profiles/<name>.yaml, or of a profile's path, over the defaults."""
    own = name.endswith((".yaml", ".yml"))
    path = Path(name) if own else _named("profiles", "profile", name)
    content = read_yaml(path)
    validate(content, Profile, str(path))
    defaults = read_yaml(PARAMS / "study.yaml")
    validate(defaults, Profile, str(PARAMS / "study.yaml"))
    # the study's training defaults lie below the models' own values, the profile's above them
    merged = merge({k: v for k, v in defaults.items() if k != "training"}, content)
    check_seeds(f"{path}: `seeds`", *merged["seeds"])
    notebooks = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    for name in merged.get("notebooks", {}):
        if name not in notebooks:
            near = _nearest(name, notebooks)
            raise ParameterError(f"{path}: `notebooks.{name}`: no such notebook; {near}")
    for model in merged.get("models", []):
        _named("models", f"model in {path.name}", model)
    for model in merged.get("per_model", {}):
        _named("models", f"model in {path.name} per_model", model)
    return merged


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """A copy of `below` with the entries of `above` laid over it, mappings merged in depth."""
    result = copy.deepcopy(below | above)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            result[key] = merge(below[key], value)
    return result


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
    kind = Classical if "pipeline" in content else Network
    validate(content, kind, str(path))
    if content["id"] != path.stem:
        raise ParameterError(f"{path}: `id` is '{content['id']}' but must be the file's name")
    _check_recipe(content, str(path))
    result = content
    if kind is Network:
        defaults = read_yaml(PARAMS / "study.yaml").get("training", {})
        result = merge({"options": {}, "classes": None, "training": defaults}, content)
        scratch = merge(result, result.get("from_scratch", {}))
        where = f"{path}: from_scratch"
        validate(scratch, kind, where)
        _check_recipe(scratch, where)
    own = result["protocol"]
    result["protocol"] = own if protocol == "paper" else "official"
    given = {"training": training} | ({"options": options} if options else {})
    layers = [(f"{path.name} with the given options", given)]
    if profile_name:
        layers = [*_limits(profile_name, result, kind), *layers]
    for where, layer in layers:
        result = merge(result, layer)
        if "from_scratch" in result:  # limits hold there too
            result["from_scratch"] = merge(result["from_scratch"], layer)
        validate(result, kind, where)
        _check_recipe(result, where)
    return result | {"paper_protocol": own}


def _limits(profile_name: str, content: dict[str, Any], kind: type) -> list[tuple[str, dict]]:
    """What a profile lays over a model, each with the place that a message names."""
    layout = profile(profile_name)
    own = dict(layout.get("per_model", {}).get(content["id"], {}))
    options = own.pop("options", {})
    where = f"profile {profile_name}: "
    if kind is Classical:  # epochs and the like mean nothing to it
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
        raise ParameterError(f"{common['id']} is not a network; 05_classical runs it")
    return [common] if own["protocol"] == "official" else [common, own]
