"""Teachers and networks to start from: those that know no test image, or one message."""

import json
import shutil

import numpy as np
import pytest
from runs import make_run

from fer_utils import (
    claims,
    datasets,
    devices,
    distillation,
    ensemble,
    inference,
    models,
    parameters,
    predecessors,
    training,
    trials,
)

THIN = {"filters": [4, 4]}


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=300,seed=1")


def thin(teacher=None, **changes):
    told = {"distillation": teacher and {"teacher": str(teacher), "weight": 0.7}}
    training = {"epochs": 1, "precision": "float32", "views": None} | told | changes
    return parameters.model("fer_net", None, options=THIN, **training)


def trained(params, dataset, study, seed=0):
    return training.run(params, dataset, study, seed, say=lambda line: None)


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    study = tmp_path_factory.mktemp("teachers")
    runs = [trained(thin(), dataset, study, seed) for seed in (0, 1)]
    ensemble.run(parameters.model("fer_net_ensemble"), dataset, study)
    return runs[0]


def teachers(folder, data, protocol="official"):
    settled = predecessors.settle(thin(folder), "nowhere")["training"]["distillation"]
    return distillation.teachers(settled, data, protocol)


def cross_entropy(targets, probabilities):
    return -(targets * np.log(probabilities)).sum(axis=1).mean()


def run_of(teacher, kind):
    return training.results.read_run(teacher.folder.parents[1] / kind / "seed_0")


@pytest.mark.parametrize("kind", ["fer_net", "fer_net_ensemble"])
def test_the_loss_is_that_of_the_teacher_s_answers_to_the_same_images(dataset, teacher, kind):
    run = run_of(teacher, kind)
    found = teachers(run.folder, teacher.metrics["data"]["content_sha256"])
    student = models.build("fer_net", **THIN)
    taught = distillation.taught(student, found, 0.7)
    before = [teacher.get_weights() for teacher in found]
    images = dataset.images[:40, ::-1]  # whatever augmentation makes of them
    said = taught(images[..., None].astype("float32"), training=True)
    told = inference.predictor(run)(images)
    expected = 0.7 * cross_entropy(told, np.array(said))
    assert float(taught.losses[0]) == pytest.approx(expected, 1e-4)
    for weights, teacher in zip(before, found, strict=True):
        for old, new in zip(weights, teacher.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)  # its normalisation's averages, too
    assert len(taught.trainable_variables) == len(student.trainable_variables)
    alone = taught(images[..., None].astype("float32"))
    np.testing.assert_array_equal(alone, student(images[..., None].astype("float32")))
    assert not taught.losses


def test_a_teacher_computes_in_the_precision_of_the_training(dataset, teacher):
    with devices.policy("mixed_bfloat16"):
        (found,) = teachers(teacher.folder, teacher.metrics["data"]["content_sha256"])
    assert {layer.compute_dtype for layer in found.layers[1:-1]} == {"bfloat16"}
    images = dataset.images[:40]
    answers = np.array(found(images[..., None].astype("float32")))
    exact = inference.predictor(teacher)(images)
    assert answers.dtype == "float32"
    np.testing.assert_allclose(answers, exact, atol=0.02)


def test_a_teacher_that_may_know_the_test_images_is_refused(teacher):
    data = teacher.metrics["data"]["content_sha256"]
    with pytest.raises(parameters.ParameterError, match="other data or parts of it"):
        teachers(teacher.folder, "0" * 64)
    with pytest.raises(parameters.ParameterError, match="protocol official, here pooled"):
        teachers(teacher.folder, data, "pooled")


def test_the_record_tells_the_teacher_and_another_teacher_trains_anew(dataset, teacher, tmp_path):
    copy = tmp_path / "fer_net" / "seed_0"
    shutil.copytree(teacher.folder, copy)
    first = trained(thin(copy), dataset, tmp_path / "study")
    told = first.metrics["params"]["training"]["distillation"]["teacher"]
    assert told["run"] == "fer_net/seed_0" and len(told["sha256"]) == 64
    again = trained(thin(copy), dataset, tmp_path / "study")
    assert again.metrics["timing"] == first.metrics["timing"]
    shutil.copytree(teacher.folder.parent / "seed_1", copy, dirs_exist_ok=True)
    other = trained(thin(copy), dataset, tmp_path / "study")
    assert other.metrics["params"]["training"]["distillation"]["teacher"] != told


def test_labels_and_teacher_share_the_loss_of_a_training(dataset, teacher, tmp_path):
    recipe = {"label_smoothing": 0.0, "augmentation": None, "learning_rate": 1e-9}
    recipe |= {"batch_size": 512, "weight_decay": None, "weight_average": None}
    thinner = {"options": {"dropout": 0.0}}
    params = parameters.merge(thin(teacher.folder, **recipe), thinner)
    found = trained(params, dataset, tmp_path)
    plain = trained(parameters.merge(thin(None, **recipe), thinner), dataset, tmp_path / "plain")
    images, labels = training.Task(params, dataset, 0, ()).part("train")
    # normalisation in training is by the batch, here all images
    network = predecessors.network(plain.folder)
    says = np.array(network(images[..., None].astype("float32"), training=True))
    hard = cross_entropy(np.eye(7)[labels], says)
    soft = cross_entropy(inference.predictor(teacher)(images), says)
    assert plain.history["loss"][0] == pytest.approx(hard, 1e-3)
    assert found.history["loss"][0] == pytest.approx(0.3 * hard + 0.7 * soft, 1e-3)


def test_a_taught_training_goes_on_as_if_it_had_not_stopped(dataset, teacher, tmp_path):
    params = thin(teacher.folder, epochs=2, progressive_resizing=[24, 48])
    whole = trained(params, dataset, tmp_path / "whole")
    task, folder = training._place(params, dataset, tmp_path / "stopped", 0)
    stopped = training.Training(task, folder, lambda line: None, 1)
    labels, weights = stopped.assemble()
    stopped._epoch(labels, weights)
    stopped._save_checkpoints()
    with np.load(folder / "checkpoint.npz") as kept:
        assert sum(name.startswith("variable_") for name in kept) == len(stopped._variables())
    teachers = {id(v) for network in stopped.teachers for v in network.variables}
    assert not teachers & {id(variable) for variable in stopped._variables()}
    again = trained(params, dataset, tmp_path / "stopped")
    assert again.history["loss"].tolist() == whole.history["loss"].tolist()


def test_a_model_as_teacher_is_the_run_that_its_folder_names(teacher):
    study = teacher.folder.parents[2]
    by_folder = thin(teacher.folder)
    told = {"distillation": {"teacher": "fer_net", "weight": 0.7}}
    by_name = by_folder | {"training": by_folder["training"] | told}
    assert predecessors.settle(by_name, study) == predecessors.settle(by_folder, study)


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_a_folder_without_a_network_is_refused(tmp_path, content):
    if content:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(parameters.ParameterError) as caught:
        predecessors.settle(thin(tmp_path), "nowhere")
    assert f"fer_net: training.distillation.teacher is {tmp_path}" in str(caught.value)
    assert "holds no finished network or ensemble" in str(caught.value)


def test_a_model_without_a_run_is_refused_with_the_command_that_makes_one(tmp_path):
    message = "no finished run; run it first, or with it: --only basic_cnn fer_net"
    with pytest.raises(parameters.ParameterError, match=message):
        predecessors.settle(thin("basic_cnn"), tmp_path)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [("fer_nte", "did you mean fer_net?"), ("fer_net", "teacher` is the network itself")],
)
def test_a_teacher_that_cannot_be_is_refused_with_the_file(teacher, message):
    with pytest.raises(parameters.ParameterError, match=message):
        thin(teacher)


def test_a_trial_names_its_teacher_without_the_hash(teacher):
    plain, taught = (predecessors.settle(thin(of), "nowhere") for of in (None, teacher.folder))
    told = "distillation: {teacher: fer_net/seed_0, weight: 0.7}"
    assert trials.change(plain, taught) == told


def going_on(folder, **changes):
    return thin(start_from=str(folder), **changes)


def test_training_starts_from_the_weights_of_a_finished_run(dataset, teacher, tmp_path):
    said = []
    still = {"learning_rate": 1e-9, "weight_decay": None, "weight_average": None}
    params = going_on(teacher.folder, **still)
    found = training.run(params, dataset, tmp_path, say=said.append)
    told = found.metrics["params"]["training"]["start_from"]
    assert (told["run"], told["file"]) == ("fer_net/seed_0", "model.keras")
    assert "start_from: fer_net/seed_0, model.keras" in said
    ours, theirs = (predecessors.network(run.folder) for run in (found, teacher))
    for our, their in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-5)
    fresh = models.build("fer_net", **THIN)
    settled = found.metrics["params"]
    predecessors.start(fresh, settled, teacher.metrics["data"]["content_sha256"])
    for our, their in zip(fresh.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(our, their)  # statistics of the normalisation, too


def test_a_start_of_other_layers_pixels_or_images_is_refused(dataset, teacher, tmp_path):
    wider = parameters.merge(going_on(teacher.folder), {"options": {"filters": [8, 4]}})
    with pytest.raises(parameters.ParameterError, match="start_from: the network of .* has other"):
        trained(wider, dataset, tmp_path)
    rescaled = going_on(teacher.folder, pixels="rescale")
    with pytest.raises(parameters.ParameterError, match="pixels: standardize, this one rescale"):
        trained(rescaled, dataset, tmp_path)
    others = datasets.load("synthetic:n=300,seed=2")
    with pytest.raises(parameters.ParameterError, match="training.start_from: .* may know this"):
        trained(going_on(teacher.folder), others, tmp_path)


def test_a_network_selected_on_the_images_of_the_test_is_refused(tmp_path):
    def checked(own, other):
        run = make_run(tmp_path, "light_cnn", protocol=other)
        (run.folder / "model.keras").write_text("a network")
        params = thin(run.folder) | {"protocol": own}
        settled = predecessors.settle(params, tmp_path)["training"]["distillation"]["teacher"]
        return predecessors.checked(settled, "distillation.teacher", "a" * 64, own)

    with pytest.raises(parameters.ParameterError, match="selected on images that test"):
        checked("official", "kaggle")
    with pytest.raises(parameters.ParameterError, match="selected on images that test"):
        checked("publictest", "official")
    assert checked("official", "official").name == "seed_0"
    assert checked("kaggle", "kaggle").name == "kaggle"


def test_what_was_selected_before_counts_too(tmp_path):
    def settled(folder):
        return predecessors.settle(thin(folder), tmp_path)["training"]["distillation"]["teacher"]

    def network(model, **training):
        folder = make_run(tmp_path, model, keep_best="last", **training).folder
        record = json.loads((folder / "metrics.json").read_text())
        record["protocol"]["selected_on"] = "nothing, the last epoch is kept"
        (folder / "metrics.json").write_text(json.dumps(record))
        (folder / "model.keras").write_text("a network")
        return folder

    assert not settled(network("fer_net"))["selected"]
    for selected in (False, True):
        told = {"run": "x/seed_0", "file": "model.keras", "sha256": "0", "selected": selected}
        assert settled(network("fer_net_large", start_from=told))["selected"] == selected


def test_an_ensemble_is_no_start(teacher):
    study = teacher.folder.parents[2]
    params = going_on(study / "runs/fer_net_ensemble/seed_0")
    with pytest.raises(parameters.ParameterError, match="holds no finished network$"):
        predecessors.settle(params, study)


def test_an_ensemble_that_lacks_a_member_s_network_is_no_teacher(teacher, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(teacher.folder.parents[2], study)
    (study / "runs/fer_net/seed_1/model.keras").unlink()
    message = "an ensemble, but .*fer_net/seed_1 holds no network of it"
    with pytest.raises(parameters.ParameterError, match=message):
        predecessors.settle(thin(study / "runs/fer_net_ensemble/seed_0"), study)


def test_a_model_to_start_from_is_the_run_of_the_same_seed_and_a_teacher_may_be_the_first(teacher):
    study = teacher.folder.parents[2]
    told = {"start_from": "fer_net", "distillation": {"teacher": "fer_net", "weight": 0.7}}
    named = parameters.merge(thin(), {"training": told, "id": "a_child"})
    places = [predecessors.settle(named, study, seed)["training"] for seed in (0, 1)]
    runs = [place["start_from"]["run"] for place in places]
    assert runs == [place["distillation"]["teacher"]["run"] for place in places]
    assert runs == ["fer_net/seed_0", "fer_net/seed_1"]
    message = "no finished run of seed 2; .*--only fer_net a_child --seeds 2"
    with pytest.raises(parameters.ParameterError, match=message):
        predecessors.settle(named, study, 2)
    taught = parameters.merge(named, {"training": {"start_from": None}})
    settled = predecessors.settle(taught, study, 2)["training"]["distillation"]
    assert settled["teacher"]["run"] == "fer_net/seed_0"
    assert predecessors.settle(named, study, 2, coming=["fer_net"]) == named


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [
        ("fer_net", {"start_from": "hog_svm"}, "start_from`: hog_svm is no network"),
        ("fer_net", {"start_from": "fer_net_ensemble"}, "fer_net_ensemble is no network"),
        ("fer_net", {"distillation": {"teacher": "hog_svm", "weight": 0.5}}, "hog_svm is no net"),
        ("deep_cnn", {"start_from": "basic_cnn"}, "official, publictest, kaggle, not for holdout"),
        ("resnet50", {"start_from": "fer_net"}, "both say what training starts from"),
    ],
)
def test_what_cannot_be_built_on_is_refused_before_anything_runs(model, training, message):
    own = {"protocol": "paper"} if model == "deep_cnn" else {}
    with pytest.raises(parameters.ParameterError, match=message):
        parameters.model(model, **own, **training)


def test_a_recorded_run_that_builds_on_another_is_not_taken_for_cut(tmp_path):
    def shortened(by):
        told = {"run": by, "sha256": "0" * 64}
        teacher = {"distillation": {"teacher": told, "weight": 0.9}}
        return claims.shortened([make_run(tmp_path, "fer_net_distilled", **teacher)])

    assert shortened("fer_net_large/seed_0") == []
    assert shortened("deep_cnn/seed_0") == ["FER-Net, distilled"]
