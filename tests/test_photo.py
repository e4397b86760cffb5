"""Prediction on photos: faces are found where they are, and every wrong input is named."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import training
from fer_utils.data import photo as photos
from fer_utils.data.synthetic import generate
from fer_utils.extras import photo as predict
from fer_utils.extras import weights as pretrained


@pytest.fixture(scope="module")
def astronaut():
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope="module")
def path(astronaut, tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return str(path)


def answer(capsys, *arguments):
    assert predict.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_committed_network_predicts_without_a_study(path, astronaut, capsys, monkeypatch, tmp_path):
    saved = tmp_path / "marked.png"
    assert predict.main([path, "--save", str(saved)]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines() if "%" in line and "#" in line]
    assert lines[0][0] == "happiness"  # the astronaut smiles
    record = pretrained.record()["scores"]
    assert f"{record['PrivateTest_views']['accuracy']:.1%}" in said and "not a feeling" in said
    x, y, w, h = np.array(answer(capsys, path)["photos"][0]["faces"][0]["box"])
    assert 170 < x + w / 2 < 270 and 60 < y + h / 2 < 160  # the astronaut's head
    assert (np.asarray(Image.open(saved))[y + h - 1, x : x + w] == (0, 255, 0)).all()
    # the second time no network is loaded
    monkeypatch.setattr(pretrained, "network", lambda *_: pytest.fail("loaded"))
    once = answer(capsys, path, "--one-view")
    assert once["views"] == 1 and once["accuracy"] < record["PrivateTest_views"]["accuracy"]
    shares = once["photos"][0]["faces"][0]["probabilities"]
    assert len(shares) == 7 and sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_faces_of_a_large_group_are_found_from_left_to_right(astronaut):
    """At full size: a copy of 1,000 pixels would have faces of 16 pixels."""
    grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)[40:190, 150:300]
    group = np.full((3000, 6000), 128, np.uint8)
    places = [(x, y) for x in (300, 1500, 2700, 3900, 5100) for y in (400, 1800)]
    for x, y in places:
        group[y : y + 150, x : x + 150] = grey
    boxes, cut = predict.faces(group)
    assert len(boxes) == len(places) and cut.shape == (10, 48, 48)
    assert (np.diff(boxes[:, 0]) >= 0).all()
    assert all(x - 10 < left < x + 80 for (x, _), left in zip(places, boxes[:, 0], strict=True))


def test_largest_photos_are_searched_in_a_smaller_copy(astronaut):
    wide = np.full((9000, 16000), 128, np.uint8)  # 144 megapixels
    grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)
    wide[4000:6048, 9000:11048] = cv2.resize(grey, None, fx=4, fy=4)
    x, y, w, _ = max(predict.faces(wide)[0].tolist(), key=lambda box: box[2])
    assert abs(x - 9000 - 4 * 177) < 60 and abs(y - 4000 - 4 * 66) < 60 and 300 < w < 450
    assert predict.smallest(wide.shape) == 65 and predict.smallest((3000, 6000)) == 40


def test_what_is_far_smaller_than_the_widest_face_is_marked(astronaut, tmp_path, capsys):
    both = np.full((1100, 1400, 3), 128, np.uint8)
    both[:1024, :1024] = cv2.resize(astronaut, None, fx=2, fy=2)
    both[300:380, 1200:1280] = cv2.resize(astronaut[40:190, 150:300], (80, 80))
    Image.fromarray(both).save(tmp_path / "both.png")
    found = answer(capsys, tmp_path / "both.png", "--one-view")["photos"][0]["faces"]
    assert [face["doubtful"] for face in found] == [face["box"][2] < 100 for face in found]
    assert sum(not face["doubtful"] for face in found) == 1 and found[-1]["doubtful"]


def test_a_cut_out_face_is_one_with_the_option_and_the_message_names_it(tmp_path, capsys):
    face = generate(100, 1)[0]["images"][0]
    cv2.imwrite(str(tmp_path / "fer2013.png"), face)
    cv2.imwrite(str(tmp_path / "crop.png"), cv2.resize(face, (100, 120)))
    assert len(answer(capsys, tmp_path / "fer2013.png")["photos"][0]["faces"]) == 1
    found = answer(capsys, tmp_path / "crop.png", "--face", "--model", pretrained.RUN)
    assert [each["box"] for each in found["photos"][0]["faces"]] == [[0, 10, 100, 100]]
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300), 127, np.uint8))
    assert predict.main([str(tmp_path / "grey.png")]) == 0
    assert "--face" in capsys.readouterr().out


def saved(path, image, **options):
    image.save(path, **options)
    return np.asarray(photos.read(path).convert("L"))


def test_photos_are_read_as_people_see_them(astronaut, tmp_path):
    image = Image.fromarray(astronaut).crop((150, 40, 300, 190))
    seen = np.asarray(image.convert("L")).astype(int)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = image.transpose(Image.Transpose.ROTATE_90)
    forms = {
        "a.jpg": (turned, {"exif": exif, "quality": 95}), "b.png": (image.convert("LA"), {}),
        "c.jpg": (image.convert("CMYK"), {"quality": 95}), "d.webp": (image, {"quality": 95}),
        "e.tif": (image, {}), "f.bmp": (image, {}), "g.avif": (image, {"quality": 95}),
        "h.jpg": (image, {"progressive": True, "quality": 95}), "i.gif": (image.quantize(), {}),
    }  # fmt: skip
    for name, (made, options) in forms.items():
        assert np.abs(saved(tmp_path / name, made, **options) - seen).mean() < 6, name
    clear = image.copy()
    clear.putalpha(Image.new("L", image.size, 0))
    assert (saved(tmp_path / "clear.png", clear) == 255).all()
    twelve_bits = Image.fromarray(np.tile(np.linspace(0, 4095, 200).astype(np.uint16), (90, 1)))
    read = saved(tmp_path / "twelve_bits.png", twelve_bits)
    assert read.min() == 0 and read.max() == 255 and read.mean() == pytest.approx(127, abs=2)


def test_what_is_no_photo_is_named_for_what_it_is(path, tmp_path, capsys):
    whole = open(path, "rb").read()
    Image.open(path).save(tmp_path / "whole.jpg")
    for name, content, words in (
        ("heic_named.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
        ("video.mp4", b"\0\0\0\x18ftypisom" + bytes(99), "video"),
        ("cut.png", whole[: len(whole) // 2], "cut short"),
        ("cut.jpg", (tmp_path / "whole.jpg").read_bytes()[:400], "cut short"),
        ("text.png", b"no picture", "not an image"),
        ("empty.png", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(datasets.DataError, match=f"{name}: .*{words}"):
            photos.read(tmp_path / name)
    # what can be read is shown, then the rest is named in one line
    assert predict.main([str(tmp_path / "text.png"), path, str(tmp_path / "none.png")]) == 2
    said = capsys.readouterr()
    assert "happiness" in said.out and said.err.startswith("error:") and said.err.count("\n") == 1
    assert "text.png" in said.err and "none.png" in said.err


def test_a_run_of_one_s_own_and_wrong_options(path, tmp_path, capsys):
    dataset = datasets.load("synthetic:n=400,seed=1")
    params = parameters.model("basic_cnn", None, epochs=1, train_limit=100)
    run = training.run(params, dataset, tmp_path / "study", say=lambda line: None)
    found = answer(capsys, path, "--model", run.folder)
    assert found["views"] == 1 and any("synthetic" in note for note in found["notes"])
    for arguments, words in (
        (["--model", tmp_path], "no finished run"),
        (["--model", pretrained.RUN.parents[1] / "hog_svm/seed_0"], "a record alone"),
        (["--model", "basic_cn"], "models are basic_cnn"),
        (["--save", path], "would replace the photo"),
        (["--save", tmp_path / "marked.xyz"], "marked.xyz: cannot be written"),
    ):
        assert predict.main([path, *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error:") and words in said and said.count("\n") == 1


def test_it_runs_without_fcntl_a_home_or_keras_own_settings(path, tmp_path):
    """As on Windows, on a read-only machine, and where Keras is set up for something else."""
    (tmp_path / ".keras").mkdir()
    other = {"backend": "torch", "image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / ".keras/keras.json").write_text(json.dumps(other))
    code = (
        "import sys; sys.modules.update(fcntl=None, resource=None, ai_edge_litert=None)\n"
        "from fer_utils.extras import export, photo\n"
        "export.installed = lambda: False\n"
        f"sys.exit(photo.main([{path!r}]))"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "FER_CACHE": "/proc/none"}
    environment.pop("KERAS_BACKEND", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "happiness" in done.stdout.split("wide")[1].split()[0]
