"""Faces found, equalised, marked and levelled; what is missing is said."""

import cv2
import numpy as np
import pytest
from runs import make_run

from fer_utils import data as datasets
from fer_utils.data import DataError, preprocess
from fer_utils.training import ablation


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=600,seed=1")


def test_faces_are_found_in_faces_and_not_in_noise(dataset):
    boxes = preprocess.face_boxes(dataset.images[:60])
    assert (boxes[:, 2] > 0).mean() > 0.7
    found = boxes[boxes[:, 2] > 0]
    assert (found[:, :2] >= 0).all() and (found[:, 0] + found[:, 2] <= 48).all()
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 48), dtype=np.uint8)
    assert (preprocess.face_boxes(noise)[:, 2] > 0).mean() < 0.2


def test_crop_fills_the_image_with_the_box_and_leaves_the_others(dataset):
    image = np.zeros((2, 48, 48), np.uint8)
    image[:, 10:30, 5:25] = 200
    out = preprocess.crop_faces(image, np.array([[5, 10, 20, 20], [0, 0, 0, 0]]))
    assert (out[0] == 200).all()
    np.testing.assert_array_equal(out[1], image[1])


def test_equalisation_spreads_a_flat_image_over_the_whole_range():
    ramp = np.tile(np.linspace(100, 120, 48).astype(np.uint8), (48, 1))[None]
    even = preprocess.equalize(ramp)
    assert even.min() == 0 and even.max() == 255 and even.dtype == np.uint8
    assert np.ptp(preprocess.clahe(ramp)) > np.ptp(ramp)


def test_detection_rates_count_each_class_and_all():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 0, 0], [1, 1, 5, 5]])
    table = preprocess.detection_rates(np.array([0, 0, 1]), boxes, ("a", "b"))
    assert table.loc["a"].tolist() == [2, 1, 0.5]
    assert table.loc["all", "n"] == 3 and table.loc["all", "rate"] == pytest.approx(2 / 3)


def test_the_eight_parts_cover_the_68_points_once():
    assert len(preprocess.PARTS) == 8
    assert sorted(i for part in preprocess.PARTS.values() for i in part) == list(range(68))


def test_levelled_eyes_lie_where_they_should():
    image = np.zeros((48, 48), np.uint8)
    eyes = {"right eye": (12, 25), "left eye": (32, 17)}
    shape = np.zeros((68, 2), np.float32)
    for part, (x, y) in eyes.items():
        shape[preprocess.PARTS[part]] = x, y
        cv2.circle(image, (x, y), 1, 255, -1)
    out = preprocess.level_eyes(image[None], shape[None])[0]
    for x, y in ((14, 19), (33, 19)):
        assert out[y, x] > 200
    assert out.sum() < 1.5 * image.sum()


@pytest.mark.parametrize("path", ["/no/such.dat", ""])
def test_missing_landmark_model_says_what_to_do(monkeypatch, path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError) as error:
        preprocess.landmark_model(path)
    assert ("/no/such.dat" if path else "pip install face_recognition_models") in str(error.value)


def test_a_file_that_is_no_landmark_model_is_named(tmp_path, dataset):
    (tmp_path / "x.dat").write_bytes(b"not a model")
    with pytest.raises(DataError, match="x.dat: not a landmark model"):
        preprocess.landmarks(dataset.images[:1], tmp_path / "x.dat")


def test_landmarks_of_a_face_lie_in_order(dataset):
    try:
        model = preprocess.landmark_model()
    except DataError as error:
        pytest.skip(str(error))
    points = preprocess.landmarks(dataset.images[:20], model)
    assert points.shape == (20, 68, 2)
    centre = {name: points[:, part].mean(axis=1) for name, part in preprocess.PARTS.items()}
    assert (centre["right eye"][:, 0] < centre["left eye"][:, 0]).all()
    assert (centre["right brow"][:, 1] < centre["outer mouth"][:, 1]).all()


def test_photo_is_read_as_grey_and_a_wrong_file_is_named(tmp_path, dataset):
    cv2.imwrite(str(tmp_path / "me.png"), np.dstack([dataset.images[0]] * 3))
    np.testing.assert_array_equal(
        preprocess.read_photo(str(tmp_path / "me.png")), dataset.images[0]
    )
    cv2.imwrite(str(tmp_path / "thin.png"), np.zeros((1, 5000), np.uint8))
    assert preprocess.read_photo(str(tmp_path / "thin.png")).shape == (1, 1000)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match="text.jpg: not an image"):
        preprocess.read_photo(str(tmp_path / "text.jpg"))
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="empty.jpg: not an image"):
        preprocess.read_photo(str(tmp_path / "empty.jpg"))
    with pytest.raises(DataError, match="nothing.jpg: there is no such file"):
        preprocess.read_photo(str(tmp_path / "nothing.jpg"))
    with pytest.raises(DataError, match="~nobody-here/a.jpg: cannot be read"):
        preprocess.read_photo("~nobody-here/a.jpg")
    with pytest.raises(DataError, match="a.jpg: cannot be read .File name too long"):
        preprocess.read_photo(300 * "a" + ".jpg")


def test_face_in_a_photo_is_found(dataset):
    found = next(
        i for i in range(50) if preprocess.face_boxes(dataset.images[i : i + 1])[0, 2] > 30
    )
    photo = np.full((300, 400), 128, np.uint8)
    photo[100:220, 200:320] = cv2.resize(dataset.images[found], (120, 120))
    boxes = preprocess.detect(photo, 40)
    assert len(boxes) >= 1
    left, top, width, height = boxes[0]
    assert 180 < left + width / 2 < 340 and 80 < top + height / 2 < 240


def test_ablation_pairs_the_steps_on_the_same_images_and_never_sees_privatetest(dataset, tmp_path):
    steps = {"none": lambda images: images, "inverted": lambda images: 255 - images}
    runs = ablation.run(dataset, steps, tmp_path, train_limit=100, epochs=1)
    table = ablation.table(runs)
    assert table["step"].tolist() == ["none", "inverted"]
    assert table["difference"][0] == 0
    assert table["difference"][1] == pytest.approx(table["accuracy"][1] - table["accuracy"][0])
    for run in runs.values():
        assert sum(run.metrics["data"]["counts"]["PrivateTest"].values()) == 0
        assert set(run.metrics["scores"]) <= {
            "Training",
            "PublicTest",
            "PublicTest_not_in_training",
        }
    first, second = (run.metrics["data"]["pixels_sha256"] for run in runs.values())
    assert first != second


def test_a_network_that_calls_every_image_the_same_is_named(tmp_path):
    right = make_run(tmp_path / "right", protocol="publictest")
    same = make_run(tmp_path / "same", protocol="publictest", predicted=np.full(60, 3))
    assert ablation.of_one_class({"none": right, "CLAHE": same}) == ["CLAHE"]


def test_ablation_is_run_anew_for_other_images_or_another_step(dataset, tmp_path):
    same = {"none": lambda images: images}
    first = ablation.run(dataset, same, tmp_path, train_limit=100, epochs=1)["none"]
    again = ablation.run(dataset, same, tmp_path, train_limit=100, epochs=1)["none"]
    assert again.metrics == first.metrics
    more = ablation.run(dataset, same, tmp_path, train_limit=150, epochs=1)["none"]
    assert more.metrics["scores"]["Training"]["n"] == 150
    other = ablation.run(
        dataset, {"none": lambda images: 255 - images}, tmp_path, train_limit=150, epochs=1
    )["none"]
    assert other.metrics["scores"] != more.metrics["scores"]


def test_ablation_without_publictest_validates_on_a_part_of_training(dataset, tmp_path):
    without = dataset.take(dataset.usage != "PublicTest")
    runs = ablation.run(without, {"none": lambda images: images}, tmp_path, 100, 1)
    held = round((dataset.usage == "Training").sum() / 10)
    assert runs["none"].test["n"] == pytest.approx(held, abs=1)
