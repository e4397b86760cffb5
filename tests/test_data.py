"""FER2013 in every form people have it loads alike; every fault is one line that says where."""

import gzip
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import time
import types
import zipfile

import cv2
import numpy as np
import pytest

from fer_utils import data
from fer_utils.data import EMOTIONS, USAGES, DataError, Dataset, load, readers, select_classes
from fer_utils.data.dataset import ARRAYS, LOADER_VERSION

TOTALS = (4953, 547, 5121, 8989, 6077, 4002, 6198)  # of the real FER2013
SPLIT_SIZES = (28709, 3589, 3589)
KAGGLE = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_the_room_imports_base_alone_and_nothing_heavy():
    code = "import sys, fer_utils.data; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = {name for name in done.stdout.split() if name.startswith("fer_utils.")}
    assert {name.removeprefix("fer_utils.") for name in own} == {
        "base", "data", "data.dataset", "data.readers", "data.rows",
    }  # fmt: skip
    assert not {"fcntl", "keras", "tensorflow", "sklearn", "cv2"} & set(done.stdout.split())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder of this test; no test reads or fills the user's."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(n=21, seed=0, usages=USAGES):
    images = np.random.default_rng(seed).integers(0, 256, (n, 48, 48), dtype=np.uint8)
    images[:, 0, 0] = 7
    usage = np.resize(np.repeat(usages, 7), n)
    names = np.array([f"fer{i:07d}.png" for i in range(n)])
    return Dataset(images, np.arange(n, dtype=np.uint8) % 7, usage, names, {})


def csv_text(dataset, order="epu", header="emotion,pixels,Usage", end="\n", quote=""):
    lines = [header]
    for image, label, use in zip(dataset.images, dataset.labels, dataset.usage, strict=True):
        cell = {"e": str(label), "p": " ".join(map(str, image.ravel())), "u": str(use)}
        lines.append(",".join(f"{quote}{cell.get(key, 'x')}{quote}" for key in order))
    return end.join(lines) + end


def text(dataset):
    return csv_text(dataset).encode()


def write_csv(path, text, encoding="utf-8"):
    path.write_bytes((csv_text(text) if isinstance(text, Dataset) else text).encode(encoding))
    return path


def encoded(image, suffix=".png"):
    return cv2.imencode(suffix, image)[1].tobytes()


def members(dataset, prefix=True, folder="{split}/{emotion}/", suffix=".png"):
    """{name: bytes} like the Kaggle download; without `prefix` only folders show the split."""
    splits = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    found = {}
    rows = zip(dataset.images, dataset.labels, dataset.usage, strict=True)
    for i, (image, label, use) in enumerate(rows):
        split = splits[use] if not prefix else "train" if use == "Training" else "test"
        where = folder.format(split=split, emotion=KAGGLE[label])
        found[f"{where}{use + '_' if prefix else 'im'}{i:04d}{suffix}"] = encoded(image, suffix)
    return found


def write(path, content, method=zipfile.ZIP_DEFLATED):
    """A zip or a folder of {name: bytes}, by the path's suffix."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, part in content.items():
                archive.writestr(name, part)
    else:
        for name, part in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(part)
    return path


def fault(source, **options):
    """The message of the DataError that `load` raises, checked to be one plain line."""
    with pytest.raises(DataError) as caught:
        load(source, cache=False, **options)
    message = str(caught.value)
    assert message.isprintable() and 0 < len(message) < 900
    return message


def same(a, b):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.provenance == b.provenance


# every form


def tarred(content, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, part in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(part)
            archive.addfile(info, io.BytesIO(part))
    return stream.getvalue()


def by_words(text):
    return re.sub("(?m)^[0-6],", lambda m: f"{KAGGLE[int(m[0][0])]},", text)


def listed(text):
    return re.sub("(?<=,)[0-9 ]{9,}", lambda m: '"[' + m[0].replace(" ", ", ") + ']"', text)


def other_usages(text):
    words = dict(zip(USAGES, ("train", "val", "Test"), strict=True))
    return re.sub("|".join(USAGES), lambda m: words[m[0]], text)


TABLES = {  # the text of a CSV of the same data
    "plain": csv_text,
    "icml": lambda d: csv_text(d, "eup", "emotion, Usage, pixels"),
    "more columns": lambda d: csv_text(d, "xepu", "id,emotion,pixels,Usage"),
    "crlf": lambda d: csv_text(d, end="\r\n"),
    "bom": lambda d: "\ufeff" + csv_text(d),
    "quoted": lambda d: csv_text(d, quote='"'),
    "no last line end": lambda d: csv_text(d).rstrip("\n"),
    "blank lines": lambda d: csv_text(d, end="\n\n"),
    "spaces": lambda d: csv_text(d).replace(",7 ", ", 007\t"),
    "header in another case": lambda d: csv_text(d, header="LABEL,Pixels,usage"),
    "labels 3.0": lambda d: re.sub("(?m)^([0-6]),", r"\1.0,", csv_text(d)),
    "labels as words": lambda d: by_words(csv_text(d)),
    "train val test": lambda d: other_usages(csv_text(d)),
    "semicolons": lambda d: csv_text(d).replace(",", ";"),
    "tabs": lambda d: csv_text(d).replace(",", "\t"),
    "lists of pixels": lambda d: listed(csv_text(d)),
}
FILES = {  # the name of one file and its content
    "csv": ("f 'R&D' (1).CSV", text),
    "csv.gz": ("größe.csv.gz", lambda d: gzip.compress(text(d))),
    "text without a suffix": ("fer2013", text),
    "tar.gz": ("a.tgz", lambda d: tarred({"README": b"", "x/fer2013.csv": text(d)})),
    "tar called csv": ("fer2013.csv", lambda d: tarred({"a/b.csv": text(d)}, "w")),
    "tar of images": ("a", lambda d: tarred(members(d, folder="./{split}/{emotion}/"))),
}
FOLDERS = {  # what a folder, and a zip, holds
    "images": members,
    "deep": lambda d: members(d, folder="x/y/{split}/{emotion}/"),
    "level below the split": lambda d: members(d, folder="{split}/x/{emotion}/"),
    "level below the class": lambda d: members(d, folder="{split}/{emotion}/1/"),
    "class above the split": lambda d: members(d, folder="{emotion}/{split}/"),
    "prefixes alone": lambda d: members(d, folder="{emotion}/"),
    "csv": lambda d: {"README": b"", "x/FER2013 (1).csv": text(d)},
    "junk": lambda d: JUNK | members(d),
}
JUNK = dict.fromkeys(
    "__MACOSX/train/angry/._a.jpg train/angry/.DS_Store train/sad/Thumbs.db README.md "
    "train/happy/.ipynb_checkpoints/a.png train/sad/._b.png".split(),
    b"x",
)


ONLY_ZIPPED = {
    "backslashes": lambda d: members(d, folder="{split}\\{emotion}\\"),
    "csv of another name": lambda d: {"balanced.csv": text(d)},
}
FORMS = [*TABLES, *FILES, *(f"{kind}, {c}" for kind in ("folder", "a.zip") for c in FOLDERS)]
FORMS += [f"a.zip, {content}" for content in ONLY_ZIPPED]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_data_gives_the_same_content(tmp_path, form):
    expected = make()
    if form in TABLES:
        path = write_csv(tmp_path / "fer2013.csv", TABLES[form](expected))
    elif form in FILES:
        name, content = FILES[form]
        path = write(tmp_path, {name: content(expected)}) / name
    else:
        kind, _, content = form.partition(", ")
        path = write(tmp_path / kind, (FOLDERS | ONLY_ZIPPED)[content](expected))
    dataset = load(path, cache=False)
    assert dataset.images.dtype == dataset.labels.dtype == np.uint8
    assert dataset.provenance["pixels_sha256"] == data.pixels_sha256(expected)
    assert dataset.provenance["split"] == "official"
    names = {name.rsplit("/")[-1] for name in members(expected)}
    if "fer0000000.png" in dataset.names:
        np.testing.assert_array_equal(dataset.images, expected.images)
        names = set(expected.names.tolist())
    assert set(dataset.names.tolist()) == names


@pytest.mark.parametrize(
    ("name", "usage", "label"),
    [
        ("train/angry/a.png", "Training", 0),
        ("TRAIN/Anger/a.PNG", "Training", 0),
        ("a/b/Training_set/HAPPINESS/a.jpg", "Training", 3),
        ("val/happy/a.jpeg", "PublicTest", 3),
        ("Validation/surprised/a.bmp", "PublicTest", 5),
        ("public_test/fearful/a.png", "PublicTest", 2),
        ("PublicTest/disgusted/a.png", "PublicTest", 1),
        ("test/test/neutral/a.webp", "PrivateTest", 6),
        ("private_test/Sad/a.png", "PrivateTest", 4),
        ("train_images/0_suprise/a.jfif", "Training", 5),  # Kaggle's FER+ spells it so
        ("train/5/a.jpe", "Training", 5),
        ("test/2/fear/3/a", "PrivateTest", 2),
        ("train/happy/webp.jpg", "Training", 3),
    ],
)
def test_spellings_of_folders_and_types_of_images(tmp_path, name, usage, label):
    image, last = np.full((48, 48), 90, np.uint8), name.rsplit("/")[-1].lower()
    suffix = last[1:] if last[1:] in (".png", ".bmp", ".webp") else ".jpg"
    suffix = ".webp" if "webp" in last else suffix
    dataset = load(write(tmp_path / "a", {name: encoded(image, suffix)}), cache=False)
    assert (dataset.usage.tolist(), dataset.labels.tolist()) == ([usage], [label])
    assert dataset.names.tolist() == [name.rsplit("/")[-1]]
    assert dataset.provenance["split"].startswith("folders ")
    assert np.abs(dataset.images[0].astype(int) - 90).max() <= 1


def counted(dataset):
    return [int((dataset.usage == usage).sum()) for usage in USAGES]


def test_folders_decide_where_they_and_the_names_disagree(tmp_path):
    plain = load(write(tmp_path / "a", members(make(), prefix=False)), cache=False)
    assert plain.provenance["pixels_sha256"] == data.pixels_sha256(make())
    assert plain.provenance["split"] == "folders test, train, validation"
    mixed = members(make()) | {"train/happy/extra.png": IMAGE}
    own = {name.replace("train", "val", i % 2): c for i, (name, c) in enumerate(mixed.items())}
    for content, counts, differ in ((mixed, [8, 0, 14], "7 of 22"), (own, [4, 4, 14], "10 of 22")):
        dataset = load(write(tmp_path / differ, content), cache=False)
        assert counted(dataset) == counts
        assert f"; {differ} file names" in dataset.provenance["split"]
        assert dataset.provenance["split"] in data.overview(dataset)


@pytest.mark.parametrize("form", ["folder", "csv"])
def test_without_a_test_split_validation_tests(tmp_path, form):
    given = make(usages=USAGES[:2])
    path = write_csv(tmp_path / "a.csv", given)
    if form == "folder":
        path = write(tmp_path / "images", members(given, prefix=False))
    dataset = load(path, cache=False)
    assert counted(dataset) == [14, 0, 7]
    assert "no test split: validation is the test split" in data.overview(dataset)


def test_overview_counts_splits_and_classes(tmp_path):
    line = data.overview(load(write_csv(tmp_path / "a.csv", make())))
    assert line.startswith(
        "a.csv: 21 images; Training 7, PublicTest 7, PrivateTest 7; anger 3, dis"
    )
    assert "folders" not in line and "\n" not in line


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    real = write(tmp_path / "real", {"happy/a.png": IMAGE})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(real)
    (tmp_path / "data/test").symlink_to(real)
    (tmp_path / "data/validation").symlink_to("test")
    (real / "sad").symlink_to(tmp_path / "data")
    dataset = load(tmp_path / "data", cache=False)
    assert dataset.usage.tolist() == ["PrivateTest", "Training", "PublicTest"]


def test_colour_becomes_grey_and_other_sizes_are_scaled_by_area(tmp_path):
    grey = np.arange(2304, dtype=np.int64).reshape(48, 48).astype(np.uint8)
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 2] = 255
    content = {
        "train/happy/a.png": encoded(np.dstack([grey] * 3)),
        "train/happy/b.png": encoded(grey),
        "train/happy/c.png": encoded(red),
        "train/happy/d.png": encoded(grey.astype(np.uint16) << 8),
        "train/happy/e.png": encoded(np.kron(grey, np.ones((2, 2), np.uint8))),
    }
    assert "e.png: 96 x 96 pixels" in fault(write(tmp_path / "a", content))
    dataset = load(tmp_path / "a", resize=True, cache=False)
    assert (dataset.provenance["converted"], dataset.provenance["resized"]) == (2, 1)
    for i in (0, 1, 3, 4):
        np.testing.assert_array_equal(dataset.images[i], grey)
    assert set(dataset.images[2].ravel().tolist()) == {76}  # 0.299 of 255


# faults


def damaged(row=3, **cells):
    """CSV text whose data row `row` (0-based) has other cells."""
    lines = csv_text(make()).split("\n")
    cell = dict(zip(("emotion", "pixels", "usage"), lines[row + 1].split(","), strict=True))
    lines[row + 1] = ",".join((cell | cells).values())
    return "\n".join(lines)


def pixels(position=1, text="7", n=2304):
    values = ["7"] * n
    values[position - 1] = text
    return " ".join(values)


BAD_ROWS = {
    "2303 pixels": ({"pixels": pixels(n=2303)}, "2303 pixels.* 2304"),
    "2305 pixels": ({"pixels": pixels(n=2305)}, "2305 pixels.* 2304"),
    "letter": ({"pixels": pixels(17, "1a")}, "pixel 17 is '1a'.* 0 to 255"),
    "no emotion": ({"emotion": "unknown"}, "emotion is 'unknown'.* 0 to 6"),
    "256": ({"pixels": pixels(2304, "256")}, "pixel 2304 is '256'.* 0 to 255"),
    "wraps to 7": ({"pixels": pixels(5, str(2**64 + 7))}, "pixel 5 is "),
    "negative": ({"pixels": pixels(1, "-1")}, "pixel 1 is '-1'"),
    "decimal": ({"pixels": pixels(2, "1.5")}, "pixel 2 is '1.5'"),
    "label 7": ({"emotion": "7"}, "emotion is '7'.* 0 to 6"),
    "usage": ({"usage": "rest"}, "Usage is 'rest'.* Training, PublicTest, PrivateTest"),
    "too many columns": ({"usage": "Training,1"}, "4 columns where the header names 3"),
    "control characters": ({"emotion": "\x1b[31m"}, "emotion is '.*31m'"),
    "open quote": ({"emotion": '"3'}, "1 columns where the header names 3"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_or_skipped(tmp_path, case):
    cells, expected = BAD_ROWS[case]
    path = write_csv(tmp_path / "fer2013.csv", damaged(row=3, **cells))
    message = fault(path)
    assert message.startswith("fer2013.csv, row 5: ") and "truncated" not in message
    assert re.search(expected, message), message
    dataset = load(path, on_bad="skip", cache=False)
    assert len(dataset) == 20 and dataset.provenance["bad_count"] == 1
    assert dataset.provenance["bad"] == [message.removeprefix("fer2013.csv, ")]
    assert dataset.names[3] == "fer0000004.png"  # later rows keep their number for FER+
    zipped = write(tmp_path / "a.zip", {"x/fer2013.csv": path.read_bytes()})
    assert fault(zipped).startswith("a.zip, member x/fer2013.csv, row 5: ")


def test_at_most_50_messages_are_kept_but_all_are_counted(tmp_path):
    dataset = make(63)
    dataset.labels[:60] = 9
    path = write_csv(tmp_path / "a.csv", dataset)
    provenance = load(path, on_bad="skip", cache=False).provenance
    assert provenance["bad_count"] == 60 and len(provenance["bad"]) == 50
    dataset.labels[:] = 9
    assert "all 63 are bad" in fault(write_csv(path, dataset), on_bad="skip")


@pytest.mark.parametrize("cut", [3, 30, 3000, 8000])
def test_a_file_cut_short_is_called_truncated(tmp_path, cut):
    message = fault(write_csv(tmp_path / "fer2013.csv", csv_text(make())[:-cut]))
    assert message.startswith("fer2013.csv, row 22: ") and "looks truncated" in message


TEXT = csv_text(make())
NO_TABLES = {
    "empty": (b"", "empty"),
    "header alone": (b"emotion,pixels,Usage\n", "no rows"),
    "challenge's train.csv": (TEXT.replace(",Usage", "").encode(), "'Usage'.*icml_face_data.csv"),
    "challenge's test.csv": (b"pixels\n1 2\n", "'emotion'.*icml_face_data.csv"),
    "blank first line": (b"\n" + TEXT.encode(), "no column 'emotion'.*found: none"),
    "html": (b"<!DOCTYPE html>\n<html>", "a web page"),
    "utf-16": (TEXT.encode("utf-16"), "UTF-16"),
    "junk": (np.random.default_rng(0).bytes(5000), "UTF-8"),
    "long line": (b"x" * (2**20 + 5), "not a row of a CSV"),
    "cut gzip": (gzip.compress(TEXT.encode())[:-2000], "truncated"),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_what_is_not_a_csv_of_faces_always_raises(tmp_path, case):
    content, expected = NO_TABLES[case]
    (tmp_path / "fer2013.csv").write_bytes(content)
    message = fault(tmp_path / "fer2013.csv", on_bad="skip")
    assert re.search(expected, message) and "fer2013.csv" in message


@pytest.mark.parametrize("source", ["", None, 3, "a\0b", "x" * 5000, "~nobody-here/x", "no.csv"])
def test_what_is_no_path_is_a_data_error(source):
    assert fault(source)


def test_wrong_files_and_options_are_named(tmp_path):
    os.mkfifo(tmp_path / "fer2013.csv")  # not waited for
    assert "neither a file nor a folder" in fault(tmp_path / "fer2013.csv")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    for form in ("'.pkl'", "fer2013.csv", "icml_face_data.csv", ".zip", ".npz", "folder"):
        assert form in fault(tmp_path / "a.pkl")
    assert "'error' or 'skip'" in fault(tmp_path / "a.pkl", on_bad="ignore")
    assert str(DataError("a\nb\tc  d \x1b[31m\u202e")) == "a b c d ?[31m?"


IMAGE = encoded(np.arange(2304, dtype=np.int64).reshape(48, 48).astype(np.uint8))
JPEG = encoded(make().images[0], ".jpg")
GOOD = {"train/happy/a.png": IMAGE}
NO_FACES = {
    "empty": ({}, r"no images; expected train\|validation\|test/<emotion>"),
    "no images": ({"notes.txt": b"x", "train/readme": b"x"}, "no images; expected"),
    "no class folders": ({"a.png": IMAGE, "b/c.png": IMAGE}, "no class folders; expected"),
    "two copies": (GOOD | {"images/train/happy/a.png": IMAGE}, "more than one copy of the data"),
    "two csv": ({"x/balanced.csv": b"x", "b.csv": b"x"}, "but b.csv, x/balanced.csv: .* path"),
    "two zips": ({"train.zip": b"x", "test.zip": b"x"}, "but test.zip, train.zip: .* path"),
    "parquet": ({"a/train-0.parquet": b"PAR1"}, "pyarrow"),
}


@pytest.mark.parametrize("form", ["data", "data.zip"])
@pytest.mark.parametrize("case", NO_FACES)
def test_wrong_structure_always_raises_and_says_what_is_expected(tmp_path, monkeypatch, case, form):
    content, expected = NO_FACES[case]
    (tmp_path / "data").mkdir()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = fault(write(tmp_path / form, content), on_bad="skip")
    assert re.search(expected, message) and form in message, message


BAD_IMAGES = {
    "text": ("train/angry/b.jpg", b"hello world", "not an image"),
    "nothing": ("train/angry/b.jpg", b"", "not an image"),
    "1x1": ("train/angry/b.png", encoded(np.zeros((1, 1), np.uint8)), "1 x 1 pixels, where 48"),
    "wide": ("train/angry/b.png", encoded(np.zeros((48, 64), np.uint8)), "64 x 48 pixels"),
    "half a PNG": ("train/angry/b.png", IMAGE[: len(IMAGE) // 2], "damaged or cut short"),
    "half a JPEG": ("train/angry/b.jpg", JPEG[:900], "damaged or cut short"),
    "over 1 MB": ("train/angry/b.png", IMAGE + b"\0" * 2**20, "implausible"),
    "huge": ("train/angry/b.png", IMAGE[:16] + struct.pack(">II", 30000, 30000) + IMAGE[24:], ""),
    "text among images": ("train/angry/b.txt", b"hello", "not an image"),
    "stray": ("docs/b.png", IMAGE, "'docs' is not one of the class folders"),
    "eighth class": ("train/contempt/b", IMAGE, f"'contempt' is not.*{EMOTIONS[6]}.*\"skip\""),
    "no split": ("train_augmented/happy/b.png", IMAGE, "'train_augmented' is not a split folder"),
}


@pytest.mark.parametrize("form", ["data", "data.zip"])
@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_named_or_skipped_in_silence(tmp_path, capfd, case, form):
    name, content, expected = BAD_IMAGES[case]
    name = name.replace("b.", "Training_0.")
    path = write(tmp_path / form, {name: content} | members(make()), zipfile.ZIP_STORED)
    message = fault(path)
    assert path.name in message and f"{name}: " in message
    assert re.search(expected, message), message
    dataset = load(path, on_bad="skip", cache=False)
    assert len(dataset) == 21 and dataset.provenance["bad_count"] == 1
    assert name in dataset.provenance["bad"][0]
    assert capfd.readouterr() == ("", "")


def test_a_damaged_zip_is_named(tmp_path):
    path = write(tmp_path / "data.zip", members(make()), zipfile.ZIP_STORED)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        message = fault(path, on_bad="skip")
        assert "data.zip" in message and ("truncated" in message or not length)
    path.write_bytes(whole.replace(b"IDAT", b"IDAX", 1))
    assert re.search("data.zip, image .*: cannot be read.*CRC", fault(path))
    encrypted = bytearray(whole)
    encrypted[6] |= 1  # general purpose flag of the local header
    encrypted[whole.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(encrypted)
    assert "encrypted" in fault(path)
    write(path, {"fer2013.csv": TEXT.encode()}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"\n0,", b"\n1,", 1))
    assert re.search("data.zip: .*truncated.*CRC", fault(path, on_bad="skip"))


@pytest.mark.parametrize("form", ["csv", "zip", "npz"])
def test_random_damage_ends_in_a_data_error_or_a_dataset(tmp_path, capfd, form):
    """No other exception and no noise, whatever bytes are hit."""
    path = tmp_path / f"a.{form}"
    if form == "csv":
        write_csv(path, make(6))
    elif form == "zip":
        write(path, members(make(6), suffix=".jpg"))
    else:
        load(write_csv(tmp_path / "b.csv", make(6)), cache=False).save(path)
    whole, rng, ends = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(60):
        content = bytearray(whole)
        for low, times in ((0, 4), (max(len(content) - 600, 0), 2)):
            for at in rng.integers(low, len(content), times):
                content[at] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            load(path, on_bad=str(rng.choice(["error", "skip"])), resize=True, cache=False)
        except DataError as error:
            ends += 1
            assert str(error).isprintable()
    assert ends > 0 and capfd.readouterr() == ("", "")


# provenance, saved data, other sources


def test_provenance_says_all_of_the_source(tmp_path):
    path = write_csv(tmp_path / "fer2013.csv", make(42))
    found = load(path).provenance
    assert json.loads(json.dumps(found)) == found and str(tmp_path) not in json.dumps(found)
    assert found == {
        "kind": "csv", "source": "fer2013.csv", "split": "official", "converted": 0, "resized": 0,
        "bad": [], "bad_count": 0, "loader_version": LOADER_VERSION,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "pixels_sha256": data.pixels_sha256(make(42)),
        "counts": {usage: dict.fromkeys(EMOTIONS, 2) for usage in USAGES},
    }  # fmt: skip


def test_saved_data_loads_again_with_classes_and_origin(tmp_path):
    dataset = load(write_csv(tmp_path / "fer2013.csv", make()))
    select_classes(dataset, ["happy", "sad"]).save(tmp_path / "part.npz")
    part = load(tmp_path / "part.npz")
    assert part.classes == ("happiness", "sadness")
    expected = {"kind": "npz", "source": "part.npz", "origin": "fer2013.csv"}
    assert expected.items() <= part.provenance.items()
    np.testing.assert_array_equal(part.images, dataset.images[np.isin(dataset.labels, (3, 4))])
    arrays = {name: getattr(dataset, name) for name in ARRAYS}
    np.savez_compressed(tmp_path / "a.npz", **arrays | {"labels": arrays["labels"].astype(int)})
    found = load(tmp_path / "a.npz")  # the four arrays alone are enough
    assert found.labels.dtype == np.uint8 and found.provenance["counts"]["Training"]["fear"] == 1


BAD_NPZ = {
    "no labels": ({"labels": None}, "'labels is not a file"),
    "pickled": ({"usage": np.array(["Training"] * 21, object)}, "Object arrays"),
    "float images": ({"images": np.zeros((21, 48, 48))}, "images"),
    "label 7": ({"labels": np.full(21, 7)}, "labels"),
    "usage": ({"usage": np.array(["test"] * 21)}, "usage"),
    "names": ({"names": np.arange(21)}, "names"),
    "classes": ({"provenance": np.array('{"classes": ["joy"]}')}, "classes"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_an_npz_of_other_arrays_is_refused(tmp_path, case):
    other, expected = BAD_NPZ[case]
    arrays = {name: getattr(make(), name) for name in ARRAYS} | other
    np.savez(tmp_path / "a.npz", **{k: v for k, v in arrays.items() if v is not None})
    message = fault(tmp_path / "a.npz")
    assert message.startswith("a.npz: ") and f"({expected}" in message, message


def test_synthetic_faces_are_drawn_once_and_damage_to_them_draws_anew(cache, monkeypatch):
    first = load(" synthetic:n=61,seed=5".strip())
    found = first.provenance
    assert found["source"] == "synthetic:n=61,seed=5" and found["synthetic"] is True
    assert found["sha256"] == found["pixels_sha256"]
    # the drawings of the committed demo and of every test
    assert data.content_sha256(first).startswith("9c3471770f1c9c2f")
    (kept,) = cache.glob("synthetic-61-5-*.npz")
    with monkeypatch.context() as patch:
        patch.setattr("fer_utils.data.synthetic.generate", None)
        same(load("synthetic: seed=5 ,n=61"), first)
    kept.write_bytes(b"PK cut")
    same(load("synthetic:n=61,seed=5"), first)
    for spec in ("synthetic:m=3", "synthetic:n", "synthetic:n=x", "synthetic:n=-3", "synthetic:3"):
        assert "synthetic:n=5000,seed=0" in fault(spec)
    assert "n >= 1" in fault("synthetic:n=0")


def test_kaggle_downloads_then_loads_the_folder(tmp_path, monkeypatch):
    write_csv(tmp_path / "fer2013.csv", make())
    asked = []
    client = types.SimpleNamespace(dataset_download=lambda h: asked.append(h) or str(tmp_path))
    monkeypatch.setitem(sys.modules, "kagglehub", client)
    assert load("kaggle").provenance["source"] == "kaggle"
    load("kaggle:owner/some-name")
    assert asked == ["msambare/fer2013", "owner/some-name"]
    assert "kaggle:owner/name" in fault("kaggle:../x/y")
    client.dataset_download = None  # as without a network
    assert "https://www.kaggle.com/datasets/owner/name by hand" in fault("kaggle:owner/name")


# cache


@pytest.fixture
def parsed(monkeypatch):
    """How often sources were parsed."""
    calls, read = [], readers.read
    monkeypatch.setattr(readers, "read", lambda *given: calls.append(given) or read(*given))
    return calls


def test_the_cache_goes_by_content_not_by_path(tmp_path, cache, parsed):
    path = write_csv(tmp_path / "fer2013.csv", make())
    first = load(path, on_bad="skip", resize=True)  # which change nothing here
    same(load(path), first)
    entry = f"{first.provenance['sha256']}-v{LOADER_VERSION}.npz"
    assert [p.name for p in cache.glob("*.npz")] == [entry]
    os.rename(path, tmp_path / "other.csv")
    assert load(tmp_path / "other.csv").provenance["source"] == "other.csv"
    assert len(parsed) == 1
    np.testing.assert_array_equal(load(write_csv(path, make(seed=1))).images, make(seed=1).images)
    load(path, cache=False)
    assert len(parsed) == 3


def test_a_cached_lenient_load_does_not_hide_faults_from_a_strict_one(tmp_path, parsed):
    path = write_csv(tmp_path / "fer2013.csv", damaged(row=4, emotion="9"))
    first = load(path, on_bad="skip")
    with pytest.raises(DataError, match="row 6"):
        load(path)
    same(load(path, on_bad="skip"), first)
    assert len(parsed) == 2


@pytest.mark.parametrize("damage", ["cut", "junk", "flipped", "other data"])
def test_a_damaged_cache_file_is_made_anew(tmp_path, cache, damage):
    path = write_csv(tmp_path / "fer2013.csv", make())
    first = load(path)
    (entry,) = cache.glob("*.npz")
    whole = entry.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    entry.write_bytes({"cut": whole[:-1000], "flipped": flipped}.get(damage, b"x" * 500))
    if damage == "other data":
        make(seed=5).save(entry)
    same(load(path), first)
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    os.utime(path, (time.time() - 60,) * 2)  # not written this moment
    cache.write_text("a file is in the way")
    np.testing.assert_array_equal(load(path).images, make().images)
    cache.unlink()

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    np.testing.assert_array_equal(load(path).images, make().images)
    assert [p for p in cache.iterdir() if p.suffix != ".txt"] == []


def test_an_unchanged_file_is_not_hashed_twice(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    os.utime(path, (time.time() - 60,) * 2)  # not written this moment
    first = load(path)
    with monkeypatch.context() as patch:
        patch.setattr(readers.Source, "digest", None)
        same(load(path), first)
    (memo,) = cache.glob("*.txt")
    memo.write_text(memo.read_text()[:-20])  # damaged
    same(load(path), first)
    memo.unlink()
    load(write_csv(path, make()))  # its time cannot show a change within the clock's tick
    assert not memo.exists()


# classes and splits


def test_selected_classes_are_renumbered_in_the_order_given():
    part = select_classes(make(42), ["Happy", "sad", "anger"])
    assert part.classes == ("happiness", "sadness", "anger")
    kept = np.isin(make(42).labels, (3, 4, 0))
    np.testing.assert_array_equal(part.images, make(42).images[kept])
    assert part.labels.tolist() == [{3: 0, 4: 1, 0: 2}[k] for k in make(42).labels[kept].tolist()]
    assert part.provenance["counts"]["Training"] == {"happiness": 2, "sadness": 2, "anger": 2}
    assert select_classes(part, ["angry", "happiness"]).classes == ("anger", "happiness")
    table = data.describe(part)
    assert table.loc["total"].tolist() == [6, 6, 6, 18] and table.loc["anger", "total"] == 6
    for classes, expected in {
        ("joy",): "unknown class 'joy'.*happiness, sadness",
        ("fear",): "'fear'",
        (): "no class given",
        ("happy", "happiness"): "twice",
    }.items():
        with pytest.raises(DataError, match=expected):
            select_classes(part, classes)


OTHERS = ["PublicTest", "PrivateTest"]
SPLITS = {  # protocol, what there is, what validates (None: a tenth held out), what tests
    "official": ("official", USAGES, ["PublicTest"], ["PrivateTest"]),
    "no PublicTest": ("official", ["Training", "PrivateTest"], None, ["PrivateTest"]),
    "publictest": ("publictest", USAGES, ["PublicTest"], ["PublicTest"]),
    "kaggle": ("kaggle", USAGES, OTHERS, OTHERS),
    "holdout": ("holdout", USAGES, None, ["PublicTest"]),
    "pooled": ("pooled", USAGES, None, None),
}


@pytest.mark.parametrize("case", SPLITS)
def test_splits(case):
    protocol, usages, validation, test = SPLITS[case]
    dataset = make(707, usages=usages)
    own = dataset.usage == ("Training" if test else dataset.usage)
    found, other = (data.split(dataset, protocol, seed=seed) for seed in (2, 3))
    assert list(found) == ["train", "validation", "test"]
    for name, expected in (("validation", validation), ("test", test)):
        wanted = np.isin(dataset.usage, expected or [])
        np.testing.assert_array_equal(
            found[name], np.flatnonzero(wanted) if expected else found["validation"]
        )
    held = [] if validation else found["validation"]
    together = np.sort(np.concatenate([found["train"], held]).astype(int))
    np.testing.assert_array_equal(together, np.flatnonzero(own))
    assert len(set(np.bincount(dataset.labels[held], minlength=7))) <= 2  # of each class the same
    assert np.array_equal(found["train"], other["train"]) == bool(validation)
    assert all((np.diff(part) > 0).all() for part in found.values())


def test_pooled_held_out_part_has_korchis_counts():
    labels = np.repeat(np.arange(7, dtype=np.uint8), TOTALS)
    images, names = np.broadcast_to(np.uint8(0), (35887, 48, 48)), np.array(["x"] * 35887)
    dataset = Dataset(images, labels, np.repeat(USAGES, SPLIT_SIZES), names)
    part = select_classes(dataset, ["happy", "sad", "neutral"])
    found = data.split(part, "pooled", seed=0)
    assert np.bincount(part.labels[found["test"]]).tolist() == [899, 608, 620]


def test_a_part_that_is_missing_is_named():
    for protocol, usages, expected in (
        ("official", ("Training", "PublicTest"), "PrivateTest"),
        ("official", ("PublicTest", "PrivateTest"), "Training"),
        ("kaggle", ("Training",), "PublicTest or PrivateTest"),
        ("holdout", ("Training", "PrivateTest"), "PublicTest"),
        ("crossed", USAGES, "official, publictest, holdout, kaggle, pooled"),
    ):
        with pytest.raises(DataError, match=expected):
            data.split(make(210, usages=usages), protocol)
    with pytest.raises(DataError, match="cannot be held out"):
        data.split(make(7), "pooled")


def test_the_real_data_is_that_of_the_records(fer2013_path):
    dataset = load(fer2013_path, cache=False)
    assert np.bincount(dataset.labels).tolist() == list(TOTALS)
    assert [int((dataset.usage == usage).sum()) for usage in USAGES] == list(SPLIT_SIZES)
    digest = dataset.provenance["pixels_sha256"]
    assert digest.startswith("f22cf03991ef6e7c") and dataset.provenance["split"] == "official"
