"""Prediction on a photo: a real one with one face, and every wrong input in one line."""

import re

import cv2
import numpy as np
import pytest

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import training
from fer_utils.extras import photo as predict
from fer_utils.extras import weights as pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    dataset = datasets.load("synthetic:n=800,seed=1")
    params = parameters.model("basic_cnn", None, epochs=1, train_limit=200)
    return training.run(params, dataset, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    from skimage import data

    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    cv2.imwrite(str(path), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
    return path


def test_face_of_a_real_photo_gets_its_probabilities(run, photo, capsys):
    assert predict.main([str(photo), "--model", str(run.folder)]) == 0
    said = capsys.readouterr().out
    assert "1 face found" in said
    shares = [float(line.split()[1][:-1]) for line in said.splitlines() if line.startswith("    ")]
    assert len(shares) == 7 and sum(shares) == pytest.approx(100, abs=0.5)
    assert shares == sorted(shares, reverse=True)


def test_committed_network_predicts_without_a_study(photo, capsys, monkeypatch):
    assert predict.main([str(photo)]) == 0
    said = capsys.readouterr().out
    assert re.match(
        r"model FER-Net, seed 0, committed weights, int8, \d\d\.\d% of PrivateTest", said
    )
    # the second time no network is loaded
    monkeypatch.setattr(pretrained, "network", lambda *_: pytest.fail("loaded"))
    assert predict.main([str(photo)]) == 0 and capsys.readouterr().out == said
    leading = next(line for line in said.splitlines() if line.startswith("    "))
    assert leading.split()[0] == "happiness"  # the astronaut smiles


def test_face_is_cut_where_it_is(photo):
    boxes, cut = predict.faces(cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE))
    (x, y, w, h) = boxes[0]
    assert 170 < x + w / 2 < 270 and 60 < y + h / 2 < 160  # the astronaut's head
    assert cut.shape == (1, 48, 48) and cut.dtype == np.uint8


def test_an_image_of_fer2013_s_size_is_a_face(tmp_path, capsys):
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), datasets.load("synthetic:n=100,seed=1").images[0])
    assert predict.main([str(path), "--model", str(pretrained.RUN)]) == 0
    said = capsys.readouterr().out
    assert "1 face found in 48 x 48 pixels" in said and "FER-Net, seed 0, committed" in said


def test_photo_without_a_face_is_told(run, tmp_path, capsys):
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((200, 300), 127, np.uint8))
    assert predict.main([str(path), "--model", str(run.folder)]) == 0
    assert "0 faces found" in capsys.readouterr().out


def test_a_file_that_is_no_photo_does_not_keep_the_others_from_being_shown(photo, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    assert predict.main([str(tmp_path / "text.png"), str(photo), str(tmp_path / "none.png")]) == 2
    said = capsys.readouterr()
    assert "astronaut.png: 1 face found" in said.out and "happiness" in said.out
    assert said.err.startswith("error:") and said.err.count("\n") == 1
    assert "text.png" in said.err and "none.png" in said.err


def test_wrong_input_is_one_line(run, photo, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    for arguments, words in (
        ([tmp_path / "none.png", "--model", run.folder], "none.png"),
        ([tmp_path / "text.png", "--model", run.folder], "not an image"),
        ([photo, "--model", tmp_path], "no finished run"),
        ([photo, "--model", pretrained.RUN.parents[1] / "hog_svm/seed_0"], "a record alone"),
        ([photo, "--model", "basic_cn"], "models are basic_cnn"),
    ):
        assert predict.main(list(map(str, arguments))) == 2
        said = capsys.readouterr().err
        assert said.startswith("error:") and words in said and said.count("\n") == 1
