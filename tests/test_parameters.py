"""Parameter files: what a user mistypes is named, and layers are laid in the right order."""

import pytest
import yaml

from fer_utils import parameters
from fer_utils.parameters import ParameterError

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


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "a: 1\n  b: 2\n"])
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


def test_profile_with_a_wrong_limit_is_refused(tmp_path):
    profile = tmp_path / "short.yaml"
    profile.write_text("description: x\ntraining: {epochs: 0}\n")
    with pytest.raises(ParameterError, match=r"short.yaml: training.*epochs.*at least 1"):
        parameters.model("basic_cnn", str(profile))


@pytest.mark.parametrize("name", parameters.names("models"))
@pytest.mark.parametrize("profile", parameters.names("profiles"))
def test_every_shipped_file_is_valid(name, profile):
    complete = parameters.model(name, profile)
    assert complete["training"]["keep_best"] in ("val_loss", "val_accuracy")


@pytest.mark.parametrize("name", parameters.names("models"))
def test_every_model_file_tells_paper_claim_protocol_cost_and_command(name):
    head = (parameters.PARAMS / "models" / f"{name}.yaml").read_text().split("\nid:")[0]
    for word in ("Claim", "Protocol", "Cost", "Command"):
        assert f"#   {word}" in head
