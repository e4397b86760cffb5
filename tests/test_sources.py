"""Every form of FER2013 loads alike, and every fault ends in one plain line that says where."""

import io
import os
import re
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest

from fer_utils.datasets import EMOTIONS, USAGES, DataError, load

KAGGLE = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def faces(n=21, seed=0):
    """Images, labels and usage in CSV order: a third each of the three usages."""
    images = np.random.default_rng(seed).integers(0, 256, (n, 48, 48), dtype=np.uint8)
    return images, np.arange(n) % 7, np.repeat(USAGES, n // 3)


def csv_text(images, labels, usage, order="epu", header="emotion,pixels,Usage", end="\n"):
    lines = [header]
    for image, label, use in zip(images, labels, usage, strict=True):
        cell = {"e": str(label), "p": " ".join(map(str, image.ravel())), "u": str(use)}
        lines.append(",".join(cell[key] for key in order))
    return end.join(lines) + end


def encoded(image, suffix=".png"):
    return cv2.imencode(suffix, image)[1].tobytes()


def members(images, labels, usage, prefix=True, folder="{split}/{emotion}/", suffix=".png"):
    """{name: bytes} like the Kaggle download; without `prefix` only folders tell the split."""
    splits = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    found = {}
    for i, (image, label, use) in enumerate(zip(images, labels, usage, strict=True)):
        split = splits[use] if not prefix else "train" if use == "Training" else "test"
        where = folder.format(split=split, emotion=KAGGLE[label])
        found[f"{where}{use + '_' if prefix else 'im'}{i:04d}{suffix}"] = encoded(image, suffix)
    return found


def write_zip(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def write_folder(path, content):
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def fault(source, **options):
    """The message of the DataError that `load` raises, checked to be one plain line."""
    with pytest.raises(DataError) as caught:
        load(source, cache=False, **options)
    message = str(caught.value)
    assert message.isprintable() and 0 < len(message) < 900
    return message


def rows_of(dataset):
    """The content in an order that no form of the source changes."""
    triples = zip(dataset.usage, dataset.labels, dataset.images, strict=True)
    return sorted((str(u), int(k), x.tobytes()) for u, k, x in triples)


# every form


def test_every_form_of_the_same_data_gives_the_same_content(tmp_path):
    data = faces()
    icml = {"order": "eup", "header": "emotion, Usage, pixels"}
    quoted = re.sub(r"(\d+( \d+){2303})", r'"\1"', csv_text(*data))
    content = members(*data)
    plain = write_csv(tmp_path / "fer2013.csv", csv_text(*data))
    forms = {
        "csv": plain,
        "icml": write_csv(tmp_path / "icml_face_data.csv", csv_text(*data, **icml)),
        "crlf": write_csv(tmp_path / "crlf.csv", csv_text(*data, end="\r\n")),
        "bom": write_csv(tmp_path / "bom.csv", csv_text(*data), "utf-8-sig"),
        "quoted": write_csv(tmp_path / "quoted.CSV", quoted),
        "no last line end": write_csv(tmp_path / "end.csv", csv_text(*data).rstrip("\n")),
        "blank lines": write_csv(tmp_path / "blank.csv", csv_text(*data, end="\n\n")),
        "zip": write_zip(tmp_path / "a.zip", content),
        "stored zip": write_zip(tmp_path / "b.zip", content, zipfile.ZIP_STORED),
        "deep zip": write_zip(tmp_path / "c.zip", {f"x/y/{k}": v for k, v in content.items()}),
        "backslashes": write_zip(
            tmp_path / "d.zip", {k.replace("/", "\\"): v for k, v in content.items()}
        ),
        "csv in zip": write_zip(tmp_path / "e.zip", {"in/FER2013.csv": plain.read_bytes()}),
        "folder": write_folder(tmp_path / "f", content),
        "prefixes alone": write_folder(tmp_path / "g", members(*data, folder="{emotion}/")),
        "csv in folder": write_folder(tmp_path / "h", {"in/fer2013.csv": plain.read_bytes()}),
    }
    loaded = {form: load(path, cache=False) for form, path in forms.items()}
    expected = rows_of(loaded["csv"])
    assert expected == sorted((str(u), int(k), x.tobytes()) for x, k, u in zip(*data, strict=True))
    for form, dataset in loaded.items():
        assert rows_of(dataset) == expected, form
        assert dataset.images.dtype == np.uint8 and dataset.labels.dtype == np.uint8, form
        assert dataset.provenance["split"] == "official", form
    assert len({dataset.provenance["pixels_sha256"] for dataset in loaded.values()}) == 1


def test_csv_keeps_row_order_and_names_images_by_data_row(tmp_path):
    images, labels, usage = faces()
    dataset = load(
        write_csv(tmp_path / "fer2013.csv", csv_text(images, labels, usage)), cache=False
    )
    np.testing.assert_array_equal(dataset.images, images)
    np.testing.assert_array_equal(dataset.labels, labels)
    np.testing.assert_array_equal(dataset.usage, usage)
    assert dataset.names[[0, 12]].tolist() == ["fer0000000.png", "fer0000012.png"]


def test_zip_and_extracted_folder_have_one_order_and_base_names(tmp_path):
    content = members(*faces())
    archive = load(write_zip(tmp_path / "a.zip", dict(reversed(content.items()))), cache=False)
    folder = load(write_folder(tmp_path / "b", content), cache=False)
    np.testing.assert_array_equal(archive.images, folder.images)
    assert archive.names.tolist() == [name.rsplit("/", 1)[-1] for name in sorted(content)]
    assert folder.names.tolist() == archive.names.tolist()


@pytest.mark.parametrize(
    ("folder", "usage", "label"),
    [
        ("train/angry", "Training", 0),
        ("TRAIN/Anger", "Training", 0),
        ("Training/HAPPINESS", "Training", 3),
        ("a/b/Training_set/sadness", "Training", 4),
        ("val/happy", "PublicTest", 3),
        ("valid/Sad", "PublicTest", 4),
        ("Validation/surprised", "PublicTest", 5),
        ("public_test/fearful", "PublicTest", 2),
        ("PublicTest/disgusted", "PublicTest", 1),
        ("test/neutral", "PrivateTest", 6),
        ("private_test/surprise", "PrivateTest", 5),
        ("privatetest/fear", "PrivateTest", 2),
        ("test/test/disgust", "PrivateTest", 1),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".PNG"])
def test_spellings_of_folders(tmp_path, folder, usage, label, suffix):
    image = np.full((48, 48), 90, np.uint8)
    data = encoded(image, suffix.lower())
    dataset = load(write_folder(tmp_path, {f"{folder}/one{suffix}": data}), cache=False)
    assert (dataset.usage.tolist(), dataset.labels.tolist()) == ([usage], [label])
    assert dataset.names.tolist() == [f"one{suffix}"]
    assert dataset.provenance["split"] == "folders"
    np.testing.assert_array_equal(dataset.images[0], image)


def test_folders_tell_the_split_unless_all_names_do(tmp_path):
    data = faces()
    plain = load(write_folder(tmp_path / "a", members(*data, prefix=False)), cache=False)
    assert plain.provenance["split"] == "folders"
    assert rows_of(plain) == sorted(
        (str(u), int(k), x.tobytes()) for x, k, u in zip(*data, strict=True)
    )
    mixed = members(*data) | {"train/happy/extra.png": encoded(data[0][0])}
    dataset = load(write_folder(tmp_path / "b", mixed), cache=False)
    assert dataset.provenance["split"] == "folders"
    assert sorted(set(dataset.usage.tolist())) == ["PrivateTest", "Training"]


def test_what_systems_leave_beside_the_data_is_ignored(tmp_path):
    content = members(*faces())
    junk = {
        "__MACOSX/train/angry/._a.jpg": b"x",
        "train/angry/.DS_Store": b"x",
        "train/Thumbs.db": b"x",
        "train/happy/.ipynb_checkpoints/a.png": b"x",
        "README.md": b"x",
        "train/sad/._b.png": b"x",
    }
    for path in (
        write_zip(tmp_path / "a.zip", junk | content),
        write_folder(tmp_path / "b", junk | content),
    ):
        assert len(load(path, cache=False)) == len(content)


# CSV faults


def damaged(row=3, **cells):
    """CSV text whose data row `row` (0-based) has other cells."""
    images, labels, usage = faces()
    lines = csv_text(images, labels, usage).split("\n")
    cell = dict(zip(("emotion", "pixels", "usage"), lines[row + 1].split(","), strict=True))
    lines[row + 1] = ",".join((cell | cells).values())
    return "\n".join(lines)


def pixels(*replaced, n=2304):
    """Pixel text of n values, with (position from 1, text) replaced."""
    values = ["7"] * n
    for position, text in replaced:
        values[position - 1] = text
    return " ".join(values)


BAD_ROWS = {
    "2303 pixels": ({"pixels": pixels(n=2303)}, r"2303 pixels.* 2304"),
    "2305 pixels": ({"pixels": pixels(n=2305)}, r"2305 pixels.* 2304"),
    "no pixels": ({"pixels": ""}, r"0 pixels.* 2304"),
    "letter": ({"pixels": pixels((17, "a"))}, r"pixel 17 is 'a'.* 0 to 255"),
    "letter in number": ({"pixels": pixels((17, "1a"))}, r"pixel 17 is '1a'"),
    "256": ({"pixels": pixels((2304, "256"))}, r"pixel 2304 is '256'.* 0 to 255"),
    "huge": ({"pixels": pixels((5, "9" * 30))}, r"pixel 5 is '9+'"),
    "wraps to 7": ({"pixels": pixels((5, str(2**64 + 7)))}, r"pixel 5 is "),
    "negative": ({"pixels": pixels((1, "-1"))}, r"pixel 1 is '-1'.* 0 to 255"),
    "decimal": ({"pixels": pixels((2, "1.5"))}, r"pixel 2 is '1.5'"),
    "label 7": ({"emotion": "7"}, r"emotion is '7'.* 0 to 6"),
    "label -1": ({"emotion": "-1"}, r"emotion is '-1'.* 0 to 6"),
    "label blank": ({"emotion": ""}, r"emotion is blank.* 0 to 6"),
    "label x": ({"emotion": "x"}, r"emotion is 'x'.* 0 to 6"),
    "usage": ({"usage": "Test"}, r"Usage is 'Test'.* Training, PublicTest, PrivateTest"),
    "usage blank": ({"usage": ""}, r"Usage is blank"),
    "too many columns": ({"usage": "Training,1"}, r"4 columns where the header names 3"),
    "control characters": ({"emotion": "\x1b[31m"}, r"emotion is '.*31m'"),
    "open quote": ({"emotion": '"3'}, r"1 columns where the header names 3"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_or_skipped(tmp_path, case):
    cells, expected = BAD_ROWS[case]
    path = write_csv(tmp_path / "fer2013.csv", damaged(row=3, **cells))
    message = fault(path)
    assert message.startswith("fer2013.csv, row 5: ")
    assert re.search(expected, message), message
    assert "truncated" not in message
    dataset = load(path, on_bad="skip", cache=False)
    assert len(dataset) == 20
    assert dataset.provenance["bad_count"] == 1
    assert dataset.provenance["bad"] == [message.removeprefix("fer2013.csv, ")]
    assert "fer0000003.png" not in dataset.names
    assert dataset.names[3] == "fer0000004.png"  # later rows keep their number for FER+


def test_pixels_in_other_spacing_are_accepted(tmp_path):
    text = damaged(row=3, pixels=" 007\t" + pixels(n=2303) + "  ")
    assert (load(write_csv(tmp_path / "a.csv", text), cache=False).images[3] == 7).all()


def test_at_most_50_messages_are_kept_but_all_are_counted(tmp_path):
    images, labels, usage = faces(63)
    labels[:60] = 9
    path = write_csv(tmp_path / "a.csv", csv_text(images, labels, usage))
    provenance = load(path, on_bad="skip", cache=False).provenance
    assert provenance["bad_count"] == 60 and len(provenance["bad"]) == 50


def test_nothing_left_after_skipping_is_an_error(tmp_path):
    images, labels, usage = faces()
    path = write_csv(tmp_path / "a.csv", csv_text(images, labels + 7, usage))
    assert "all 21 are bad" in fault(path, on_bad="skip")


@pytest.mark.parametrize("order", ["epu", "eup"])
@pytest.mark.parametrize("cut", [1, 30, 3000, 8000])
def test_a_file_cut_short_is_called_truncated(tmp_path, order, cut):
    header = "emotion,pixels,Usage" if order == "epu" else "emotion, Usage, pixels"
    text = csv_text(*faces(), order=order, header=header).rstrip("\n")
    if order == "eup" and cut == 1:
        cut = 20  # one digit less is still a number
    message = fault(write_csv(tmp_path / "fer2013.csv", text[:-cut]))
    assert message.startswith("fer2013.csv, row 22: ") and "looks truncated" in message


def test_last_row_of_2303_pixels_is_called_truncated_despite_its_line_end(tmp_path):
    message = fault(write_csv(tmp_path / "a.csv", damaged(row=20, pixels=pixels(n=2303))))
    assert "row 22" in message and "2303 pixels" in message and "looks truncated" in message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("emotion,pixels", "no column 'Usage'.*found: emotion, pixels"),
        ("emotion;pixels;Usage", "no column 'emotion'.*found: emotion;pixels;Usage"),
        ("a,b,c", "no column 'emotion'.*found: a, b, c"),
        ("emotion,emotion,pixels,Usage", "two columns 'emotion'"),
        ("", "no column 'emotion'.*found: none"),
    ],
)
def test_missing_columns_are_named_with_those_found(tmp_path, header, expected):
    path = write_csv(tmp_path / "a.csv", csv_text(*faces(), header=header))
    assert re.search(expected, fault(path))
    assert re.search(expected, fault(path, on_bad="skip"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"emotion,pixels,Usage\n", "no rows"),
        (b"emotion,pixels,Usage", "no rows"),
        (csv_text(*faces()).encode("utf-16"), "UTF-16"),
        (csv_text(*faces()).encode("utf-16-le"), "UTF-8"),
        (np.random.default_rng(0).bytes(5000), "UTF-8"),
        (b"\x80\x04\x95" + b"\0" * 100, "UTF-8"),
        (b"x" * (2**20 + 5), "UTF-8"),
        (b"emotion,pixels,Usage\n0," + b"1" * (2**20 + 5), "row 2: longer"),
        (b"emotion,pixels,Usage\r0,1 2,Training\r", "row 1: not a row of a CSV"),
        (b"emotion,pixels,Usage," + b"x" * 200_000 + b"\n", "row 1: not a row of a CSV"),
    ],
    ids=(
        "empty header header-only utf16 utf16-no-bom junk pickle long-line long-row"
        " old-mac-line-ends long-name"
    ).split(),
)
def test_what_is_not_a_csv_of_faces_always_raises(tmp_path, content, expected):
    (tmp_path / "fer2013.csv").write_bytes(content)
    assert expected in fault(tmp_path / "fer2013.csv", on_bad="skip")


# paths and folders


def test_missing_path_names_it(tmp_path):
    assert "no such file or folder" in fault(tmp_path / "nowhere.csv")
    assert "nowhere.csv" in fault(str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize("source", ["", None, 3, "a\0b", "x" * 5000, "~nobody-here/x"])
def test_what_is_no_path_is_a_data_error(source):
    assert fault(source)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_unreadable_path(tmp_path, kind):
    path = write_csv(tmp_path / "a.csv", csv_text(*faces()))
    locked = path if kind == "file" else tmp_path
    locked.chmod(0)
    try:
        assert "cannot be read" in fault(locked)
    finally:
        locked.chmod(0o700)


def test_a_file_that_refuses_to_open_is_called_unreadable(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "a.csv", csv_text(*faces()))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert "cannot be read (Permission denied)" in fault(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fer2013.csv")
    assert "neither a file nor a folder" in fault(tmp_path / "fer2013.csv")


@pytest.mark.parametrize("name", ["a.pkl", "a.txt", "a.csv.gz", "a", "a.npy"])
def test_other_types_of_file_list_what_is_accepted(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    message = fault(tmp_path / name)
    for form in ("fer2013.csv", "icml_face_data.csv", ".zip", ".npz", "folder"):
        assert form in message


IMAGE = encoded(np.arange(2304, dtype=np.int64).reshape(48, 48).astype(np.uint8))
GOOD = {"train/happy/a.png": IMAGE}
STRUCTURAL = {
    "empty": ({}, r"no images; expected train\|validation\|test/<emotion>"),
    "no images": ({"notes.txt": b"x", "train/happy/readme": b"x"}, "no images; expected"),
    "no class folders": ({"a.png": IMAGE, "b/c.png": IMAGE}, "no class folders; expected"),
    "unknown class": (
        GOOD | {"train/contempt/b.png": IMAGE},
        "'contempt' is not a class folder; the valid ones are " + ", ".join(EMOTIONS),
    ),
    "numbered class": ({"train/0/b.png": IMAGE}, "'0' is not a class folder"),
    "no split": ({"happy/a.png": IMAGE, "sad/b.png": IMAGE}, "no split folder above; expected"),
    "one without split": (GOOD | {"sad/b.png": IMAGE}, "sad/b.png: no split|more than one copy"),
    "two copies": (GOOD | {"images/train/happy/a.png": IMAGE}, "more than one copy of the data"),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("case", STRUCTURAL)
def test_wrong_structure_always_raises_and_says_what_is_expected(tmp_path, case, form):
    content, expected = STRUCTURAL[case]
    (tmp_path / "data").mkdir()
    write = write_folder if form == "folder" else write_zip
    path = write(tmp_path / ("data" if form == "folder" else "data.zip"), content)
    message = fault(path, on_bad="skip")
    assert re.search(expected, message), message
    assert "data" in message


def test_the_working_folder_is_called_by_its_name(tmp_path, monkeypatch):
    write_folder(tmp_path / "faces", GOOD | {"train/happy/b.png": b"x"})
    monkeypatch.chdir(tmp_path / "faces")
    assert fault(".").startswith("faces, image train/happy/b.png: ")
    monkeypatch.chdir("train")
    assert load("..", on_bad="skip", cache=False).provenance["source"] == "faces"


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    real = write_folder(tmp_path / "real", {"happy/a.png": IMAGE})
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to(real)
    (real / "sad").symlink_to(data)
    dataset = load(data, cache=False)
    assert dataset.labels.tolist() == [3]


# images


def png(width, height, raw=b"", colour=0):
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_with_damage():
    data = bytearray(encoded(faces()[0][0], ".jpg"))
    data[-400:-300] = b"\x55" * 100
    return bytes(data)


BAD_IMAGES = {
    "text": (b"hello world", "not an image"),
    "nothing": (b"", "not an image"),
    "JPEG start only": (b"\xff\xd8\xff", "not an image"),
    "GIF": (b"GIF89a" + b"\0" * 100, "not an image"),
    "1x1": (encoded(np.zeros((1, 1), np.uint8)), r"1 x 1 pixels, where 48 x 48 is right"),
    "wide": (encoded(np.zeros((48, 64), np.uint8)), r"64 x 48 pixels"),
    "big JPEG": (encoded(np.zeros((96, 96), np.uint8), ".jpg"), r"96 x 96 pixels"),
    "half a PNG": (IMAGE[: len(IMAGE) // 2], "not an image that can be decoded"),
    "half a JPEG": (encoded(faces()[0][0], ".jpg")[:900], "not an image that can be decoded"),
    "damaged JPEG": (jpeg_with_damage(), "not an image that can be decoded"),
    "PNG without rows": (png(48, 48, b"\0" * 49), "not an image that can be decoded"),
    "over 1 MB": (IMAGE + b"\0" * 2**20, "implausible"),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_named_or_skipped_in_silence(tmp_path, capfd, case, form):
    data, expected = BAD_IMAGES[case]
    content = {"train/angry/Training_0.jpg": data} | members(*faces())  # others are read after it
    if form == "zip":
        path = write_zip(tmp_path / "data.zip", content, zipfile.ZIP_STORED)
    else:
        path = write_folder(tmp_path / "data", content)
    message = fault(path)
    assert path.name in message and "train/angry/Training_0.jpg: " in message
    assert re.search(expected, message), message
    dataset = load(path, on_bad="skip", cache=False)
    assert len(dataset) == 21 and dataset.provenance["bad_count"] == 1
    assert "Training_0.jpg" in dataset.provenance["bad"][0]
    assert capfd.readouterr() == ("", "")


def test_images_of_other_types_are_bad_not_lost(tmp_path):
    path = write_folder(tmp_path / "a", members(*faces()) | {"train/sad/Training_x.bmp": b"BM"})
    assert "Training_x.bmp: of a type that is not read" in fault(path)
    assert load(path, on_bad="skip", cache=False).provenance["bad_count"] == 1


def test_stray_images_are_bad_not_lost(tmp_path):
    path = write_folder(tmp_path / "a", members(*faces()) | {"docs/figure.png": IMAGE})
    assert "docs/figure.png: 'docs' is not a class folder" in fault(path)
    assert len(load(path, on_bad="skip", cache=False)) == 21


def test_colour_images_become_grey_and_are_counted(tmp_path):
    grey = np.arange(2304, dtype=np.int64).reshape(48, 48).astype(np.uint8)
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 2] = 255
    content = {
        "train/happy/equal.png": encoded(np.dstack([grey] * 3)),
        "train/happy/grey.png": encoded(grey),
        "train/happy/red.png": encoded(red),
        "train/happy/y.jpg": encoded(np.full((48, 48, 3), 100, np.uint8), ".jpg"),
    }
    dataset = load(write_folder(tmp_path, content), cache=False)
    assert dataset.provenance["converted"] == 3
    np.testing.assert_array_equal(dataset.images[0], grey)
    np.testing.assert_array_equal(dataset.images[1], grey)
    assert set(dataset.images[2].ravel().tolist()) == {76}  # 0.299 of 255
    assert (dataset.images[3] == 100).all()


def test_resize_scales_by_area_and_counts(tmp_path):
    small = np.random.default_rng(1).integers(0, 256, (48, 48), dtype=np.uint8)
    content = {
        "train/happy/a.png": encoded(small),
        "train/happy/b.png": encoded(np.kron(small, np.ones((2, 2), np.uint8))),
        "train/happy/c.png": encoded(np.full((1, 1), 9, np.uint8)),
    }
    dataset = load(write_folder(tmp_path, content), resize=True, cache=False)
    assert dataset.provenance["resized"] == 2
    np.testing.assert_array_equal(dataset.images[1], small)  # the mean of each 2 x 2 block
    assert (dataset.images[2] == 9).all()


def test_an_image_that_declares_absurd_dimensions_is_never_decoded(tmp_path, monkeypatch):
    write_folder(tmp_path, {"train/happy/a.png": png(30000, 30000, b"\0" * 100)})
    monkeypatch.setattr(cv2, "imdecode", None)
    assert "30000 x 30000 pixels" in fault(tmp_path)
    assert "implausible" in fault(tmp_path, resize=True)


# zip


def test_truncated_zip_always_raises(tmp_path):
    path = write_zip(tmp_path / "data.zip", members(*faces()))
    whole = path.read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        message = fault(path, on_bad="skip")
        assert "data.zip" in message
        assert "truncated" in message or (length == 0 and "empty" in message)


def test_encrypted_zip_always_raises(tmp_path):
    path = write_zip(tmp_path / "data.zip", GOOD)
    data = bytearray(path.read_bytes())
    data[6] |= 1  # general purpose flag of the local header
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "train/happy/a.png: encrypted" in fault(path, on_bad="skip")


@pytest.mark.parametrize(
    "name",
    ["../train/happy/b.png", "train/../../b.txt", "/train/happy/b.png", "C:\\b.png", "..\\b"],
)
def test_members_that_lead_out_of_the_zip_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "data.zip", GOOD | {name: IMAGE})
    assert "leads out of the zip" in fault(path, on_bad="skip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/happy/a.png", IMAGE)
        archive.writestr("train/happy/a.png", IMAGE)
    assert "is there twice" in fault(path, on_bad="skip")


def test_a_member_that_unpacks_to_megabytes_is_not_unpacked(tmp_path, monkeypatch):
    content = GOOD | {
        "train/sad/bomb.png": b"\0" * 5_000_000,
        "train/sad/mini.png": b"\0" * 900_000,
    }
    path = write_zip(tmp_path / "data.zip", content)
    opened = []
    unpack = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda z, info: opened.append(info.filename) or unpack(z, info)
    )
    assert "train/sad/bomb.png: declares 5000000 bytes" in fault(path)
    assert len(load(path, on_bad="skip", cache=False)) == 1
    assert set(opened) == {"train/happy/a.png"}


def test_a_csv_member_of_implausible_size_is_refused(tmp_path):
    path = write_zip(tmp_path / "data.zip", {"fer2013.csv": csv_text(*faces())})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 24  # uncompressed size in the central directory
    data[at : at + 4] = struct.pack("<I", 2**30 + 1)
    path.write_bytes(data)
    message = fault(path, on_bad="skip")
    assert "member fer2013.csv" in message and "implausible" in message


@pytest.mark.parametrize("declared", [10, 5000])
def test_a_member_that_is_not_of_its_declared_size_is_bad(tmp_path, declared):
    path = write_zip(tmp_path / "data.zip", {"train/happy/b.png": IMAGE, "train/sad/a.png": IMAGE})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = struct.pack("<I", declared)
    path.write_bytes(data)
    assert "data.zip, member train/happy/b.png: " in fault(path)
    assert len(load(path, on_bad="skip", cache=False)) == 1


def test_a_member_with_a_wrong_checksum_is_bad(tmp_path):
    path = write_zip(tmp_path / "data.zip", GOOD | {"train/sad/b.png": IMAGE}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[len(IMAGE) // 2] ^= 1
    path.write_bytes(data)
    assert "member train/happy/a.png: damaged in the zip" in fault(path)
    assert load(path, on_bad="skip", cache=False).labels.tolist() == [4]


def test_a_member_without_a_name_is_passed_over(tmp_path):
    path = write_zip(tmp_path / "data.zip", GOOD | {"train/sad/b.png": IMAGE})
    path.write_bytes(path.read_bytes().replace(b"train/sad/b.png", b"\0rain/sad/b.png"))
    assert load(path, cache=False).labels.tolist() == [3]


def test_a_csv_in_a_zip_names_member_and_row(tmp_path):
    path = write_zip(tmp_path / "data.zip", {"x/icml_face_data.csv": damaged(row=0, emotion="8")})
    assert fault(path).startswith("data.zip, member x/icml_face_data.csv, row 2: emotion is '8'")


def test_damage_inside_a_zipped_csv_always_raises(tmp_path):
    path = write_zip(tmp_path / "data.zip", {"fer2013.csv": csv_text(*faces())}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\n0,", b"\n1,", 1))
    message = fault(path, on_bad="skip")
    assert message.startswith("data.zip, member fer2013.csv") and "damaged" in message


@pytest.mark.parametrize("form", ["csv", "zip", "npz"])
def test_random_damage_ends_in_a_data_error_or_a_dataset(tmp_path, capfd, form):
    """No other exception and no noise, whatever bytes are hit."""
    path = tmp_path / f"a.{form}"
    if form == "csv":
        write_csv(path, csv_text(*faces(6)))
    elif form == "zip":
        write_zip(path, members(*faces(6), suffix=".jpg"))
    else:
        load(write_csv(tmp_path / "b.csv", csv_text(*faces(6))), cache=False).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 4):
            data[at] = rng.integers(0, 256)
        for at in rng.integers(max(len(data) - 600, 0), len(data), 2):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            load(path, on_bad=str(rng.choice(["error", "skip"])), resize=True, cache=False)
        except DataError as error:
            ends += 1
            assert str(error).isprintable()
    assert ends > 0
    assert capfd.readouterr() == ("", "")


def test_stderr_still_works_after_loading_images(tmp_path, capfd):
    load(write_zip(tmp_path / "a.zip", members(*faces())), cache=False)
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_nothing_is_unpickled(tmp_path):
    """A pickle under any accepted suffix must not run."""
    marker = tmp_path / "ran"
    code = f"cbuiltins\nopen\n(V{marker}\nVw\ntR.".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("images", "labels", "usage", "names"):
            header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
            header += b" " * (117 - len(header)) + b"\n"
            size = struct.pack("<H", len(header))
            archive.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + size + header + code)
    for name, data in (("a.npz", buffer.getvalue()), ("b.npz", code), ("c.csv", code)):
        (tmp_path / name).write_bytes(data)
        fault(tmp_path / name)
    assert not marker.exists()


@pytest.mark.skipif(not os.environ.get("FER2013_PATH"), reason="needs FER2013: set FER2013_PATH")
def test_the_real_data_has_the_published_counts():
    dataset = load(os.environ["FER2013_PATH"], cache=False)
    totals = np.bincount(dataset.labels).tolist()
    assert totals == [4953, 547, 5121, 8989, 6077, 4002, 6198]
    assert [int((dataset.usage == usage).sum()) for usage in USAGES] == [28709, 3589, 3589]
    assert dataset.provenance["split"] == "official"
