"""Parameter files: what a user mistypes is named, and layers are laid in the right order."""

import pytest
import yaml

from fer_utils import config as parameters
from fer_utils.base import PARAMS, ParameterError
from fer_utils.study import plan as settings
from fer_utils.training.task import check_network

GOOD = {
    "id": "mine",
    "title": "Mine",
    "paper": "none",
    "builder": "basic_cnn",
    "protocol": "official",
    "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.001},
}


def write(folder, change=None, text=None, name="mine.yaml"):
    path = folder / name
    path.write_text(text if text is not None else yaml.safe_dump(parameters.merge(GOOD, change)))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"epochs": -3}}, ["training.epochs", "-3", "at least 1"]),
        ({"training": {"learning_rate": "1e-3"}}, ["learning_rate", "'1e-3'", "1.0e-3"]),
        ({"training": {"epoch": 3}}, ["training.epoch", "did you mean `epochs`"]),
        ({"training": {"epochs": "5"}}, ["epochs", "'5'", "integer", "write it without quotes, 5"]),
        ({"training": {"learning_rate": float("nan")}}, ["training.learning_rate", "finite"]),
        ({"training": {"batch_size": "many"}}, ["batch_size", "'many'", "without quotes"]),
        ({"training": {"optimizer": "adamm"}}, ["optimizer", "adamm", "adam, sgd"]),
        ({"training": {"augmentation": {"rotate": 3}}}, ["augmentation.rotate", "rotation"]),
        ({"protocol": "private"}, ["protocol", "official, publictest, holdout, kaggle, pooled"]),
        ({"id": "other"}, ["`id`", "other", "file's name"]),
        ({"colour": 1}, ["unknown parameter `colour`"]),
        ({"classes": ["fear", "fear"]}, ["`classes`", "'fear' is given twice"]),
        ({"training": {"leave_out": ["copies", "copies"]}}, ["leave_out", "given twice"]),
    ],
)
def test_wrong_value_names_file_key_and_remedy(tmp_path, change, words):
    path = write(tmp_path, change)
    with pytest.raises(ParameterError) as error:
        parameters.model(path)
    for word in ["mine.yaml", *words]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_key_is_named(tmp_path):
    content = {**GOOD, "training": {"epochs": 1, "batch_size": 2}}
    path = write(tmp_path, text=yaml.safe_dump(content))
    with pytest.raises(ParameterError, match="training.learning_rate` is missing"):
        parameters.model(path)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "a: 1\n  b: 2\n", "? [1, 2]\n: 3\n"])
def test_broken_yaml_is_one_line(tmp_path, text):
    with pytest.raises(ParameterError, match="mine.yaml") as error:
        parameters.model(write(tmp_path, text=text))
    assert "\n" not in str(error.value)


def test_key_given_twice_is_named_with_its_line(tmp_path):
    text = yaml.safe_dump(GOOD) + "training: {epochs: 1}\n"
    with pytest.raises(ParameterError, match=r"mine.yaml, line \d+: `training` is given twice"):
        parameters.model(write(tmp_path, text=text))


def test_yaml_cannot_run_code(tmp_path):
    path = write(tmp_path, text="id: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ParameterError, match="mine.yaml, line 1"):
        parameters.model(path)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ParameterError, match="did you mean deep_cnn"):
        parameters.model("deepcnn")
    with pytest.raises(ParameterError, match="did you mean quick"):
        parameters.profile("quik")


def test_layers_model_then_profile_then_given(tmp_path):
    profile = tmp_path / "short.yaml"
    profile.write_text(
        "description: x\ntraining: {epochs: 7, batch_size: 32}\n"
        "per_model:\n  deep_cnn: {epochs: 9}\n"
    )
    assert parameters.model("basic_cnn")["training"]["epochs"] == 50
    basic = parameters.model("basic_cnn", str(profile))["training"]
    assert (basic["epochs"], basic["batch_size"]) == (7, 32)
    assert parameters.model("deep_cnn", str(profile))["training"]["epochs"] == 9
    assert parameters.model("deep_cnn", str(profile), epochs=2)["training"]["epochs"] == 2
    assert basic["augmentation"]["rotation"] == 15


@pytest.mark.parametrize(("given", "told"), [("0", "at least 1"), ("some", "is the text 'some'")])
def test_profile_with_a_wrong_limit_is_refused(tmp_path, given, told):
    profile = tmp_path / "short.yaml"
    profile.write_text(f"description: x\ntraining: {{epochs: {given}}}\n")
    with pytest.raises(ParameterError, match=rf"short.yaml: training.*epochs.*{told}"):
        parameters.model("basic_cnn", str(profile))


@pytest.mark.parametrize("name", parameters.names("models"))
@pytest.mark.parametrize("profile", parameters.names("profiles"))
def test_every_shipped_file_is_valid(name, profile):
    complete = parameters.model(name, profile)
    assert complete["training"]["keep_best"] in ("val_loss", "val_accuracy", "last")


def test_models_on_request_are_in_no_study_by_themselves():
    standard = parameters.standard_models()
    assert {"basic_cnn", "fer_net", "hog_svm"} <= set(standard)
    assert not set(settings.OWN_NETWORKS[1:]) & set(standard)
    assert set(standard) < set(parameters.names("models"))


@pytest.mark.parametrize("name", parameters.names("models"))
def test_every_model_file_tells_paper_claim_protocol_cost_and_command(name):
    head = (PARAMS / "models" / f"{name}.yaml").read_text().split("\nid:")[0]
    for word in ("Claim", "Protocol", "Cost", "Command"):
        assert f"#   {word}" in head


def test_protocols_are_the_common_one_and_the_papers_own_if_it_differs():
    assert [p["protocol"] for p in parameters.protocols("basic_cnn")] == ["official", "holdout"]
    assert [p["protocol"] for p in parameters.protocols("pipeline_cnn")] == ["official"]
    first, second = parameters.protocols("heavy_cnn")
    assert first | {"protocol": "kaggle"} == second
    assert first["paper_protocol"] == "kaggle"


def test_limits_of_the_papers_protocol_leave_the_common_one_alone(tmp_path):
    profile = tmp_path / "short.yaml"
    profile.write_text(
        "description: x\ntraining: {epochs: 7}\npaper_protocol: {epochs: 2, train_limit: 10}\n"
        "per_model:\n  resnet50: {epochs: 5, options: {size: 64}}\n"
    )
    common, own = parameters.protocols("resnet50", str(profile))
    assert (common["training"]["epochs"], common["training"]["train_limit"]) == (5, None)
    assert (own["training"]["epochs"], own["training"]["train_limit"]) == (2, 10)
    assert common["options"] == own["options"] == {"size": 64, "fine_tune": "head"}
    common, own = parameters.protocols("six_layer_cnn", str(profile))
    assert (common["training"]["epochs"], own["training"]["epochs"]) == (7, 2)


@pytest.mark.parametrize("section", ["options", "from_scratch"])
def test_an_option_that_the_builder_does_not_take_is_refused(section):
    params = parameters.model("resnet50", "full")
    place = params["options"] if section == "options" else params["from_scratch"]["options"]
    place["depth"] = 3
    with pytest.raises(ParameterError, match="resnet50 has no option 'depth'"):
        check_network(params)


def test_an_unknown_class_or_builder_is_refused():
    with pytest.raises(ParameterError, match="unknown class 'joyy'; known are anger"):
        check_network(parameters.model("dcnn_three_class") | {"classes": ["joyy", "sad"]})
    with pytest.raises(ParameterError, match="unknown model builder 'basic_cn'"):
        check_network(parameters.model("basic_cnn") | {"builder": "basic_cn"})


def test_limits_of_a_profile_hold_from_scratch_too(tmp_path):
    profile = tmp_path / "short.yaml"
    limits = "{epochs: 2, augmentation: null, options: {size: 64}}"
    profile.write_text(f"description: x\nper_model:\n  resnet50: {limits}\n")
    section = parameters.model("resnet50", str(profile), learning_rate=0.1)["from_scratch"]
    assert section["training"]["epochs"] == 2 and section["options"]["size"] == 64
    assert section["training"]["augmentation"] is None
    assert section["training"]["learning_rate"] == 0.1
    assert section["options"]["fine_tune"] == "all"  # what the profile leaves alone stays


@pytest.mark.parametrize("section", [{"option": {}}, {"training": {"augmentatoin": {}}}])
def test_wrong_key_of_the_section_from_scratch_is_named(tmp_path, section):
    content = parameters.read_yaml(PARAMS / "models" / "resnet50.yaml")
    content = parameters.merge(content, {"from_scratch": section})
    path = write(tmp_path, text=yaml.safe_dump(content), name="resnet50.yaml")
    with pytest.raises(ParameterError, match="resnet50.yaml: .*from_scratch"):
        parameters.model(path)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"components": [0]}, ["grid.components.0", "at least 1"]),
        ({"k": [-1]}, ["grid.k.0", "at least 1"]),
        ({"weights": ["dist"]}, ["grid.weights.0", "uniform, distance"]),
        ({"C": [1.0]}, ["grid", "needs exactly components, k, weights"]),
        ({"neighbours": [1]}, ["grid.neighbours"]),
    ],
)
def test_wrong_entry_of_a_grid_is_named(tmp_path, grid, words):
    content = parameters.read_yaml(PARAMS / "models" / "pca_knn.yaml")
    content = parameters.merge(content, {"training": {"grid": grid}})
    path = write(tmp_path, text=yaml.safe_dump(content), name="pca_knn.yaml")
    with pytest.raises(ParameterError) as error:
        parameters.model(path)
    assert all(word in str(error.value) for word in ["pca_knn.yaml", *words])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"one_cycle": {"rise": 0.3}, "reduce_lr": {"monitor": "val_loss", "factor": 0.5,
                                                    "patience": 2}}, "both set the learning rate"),
        ({"one_cycle": {}, "reduce_lr": {"monitor": "val_loss", "factor": 0.5, "patience": 2}},
         "both set the learning rate"),
        ({"mixing": {"kind": "mixup", "alpha": 0.2, "share": 1.0}, "balance": "class_weights"},
         "images of two classes"),
    ],
)  # fmt: skip
def test_recipes_that_contradict_themselves_are_refused(changes, told):
    with pytest.raises(ParameterError, match=told):
        parameters.model("basic_cnn", None, **changes)


def test_a_profile_does_not_lengthen_a_training(tmp_path):
    recipe = yaml.safe_load((PARAMS / "models" / "basic_cnn.yaml").read_text())
    recipe |= {"id": "mine", "training": recipe["training"] | {"epochs": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    assert parameters.model(tmp_path / "mine.yaml", "quick")["training"]["epochs"] == 1


def test_a_number_in_a_list_must_be_finite(tmp_path):
    path = write(tmp_path, {"training": {"augmentation": {"zoom": [float("nan"), 1.1]}}})
    with pytest.raises(ParameterError, match="augmentation.zoom.0` is not a finite number"):
        parameters.model(path)


def test_a_key_twice_in_an_entry_of_a_list_is_named(tmp_path):
    path = write(tmp_path, text="claims:\n  - claim: x\n    value: 1\n    value: 2\n")
    with pytest.raises(ParameterError, match="line 4: `value` is given twice"):
        parameters.read_yaml(path)


@pytest.mark.parametrize(
    ("line", "name", "told"),
    [
        ("per_model: {hog_svm: {options: {size: 9}}}", "hog_svm", "`options` are a network's"),
        ("notebooks: {4_train: {}}", "basic_cnn", "did you mean 04_train"),
        ("seeds: [4294967296]", "basic_cnn", "`seeds`: 4294967296; .* to 4294967295"),
    ],
)
def test_what_a_profile_says_in_vain_is_refused(tmp_path, line, name, told):
    (tmp_path / "short.yaml").write_text(f"description: x\n{line}\n")
    with pytest.raises(ParameterError, match=told):
        parameters.model(name, str(tmp_path / "short.yaml"))
