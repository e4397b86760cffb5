"""The FER+ votes reach the right images, or the file is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from runs import make_run

from fer_utils.analysis.labels import predicted_labels, yardstick
from fer_utils.data import EMOTIONS, USAGES, DataError, Dataset, load, select_classes
from fer_utils.data import votes as ferplus

NAMES = ("neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF").split(",")


def votes(**given):
    """One row of votes; what is not given is 0."""
    return [given.get(name, 0) for name in NAMES]


def dataset(names, labels, usage=None):
    n = len(names)
    return Dataset(
        np.zeros((n, 48, 48), np.uint8),
        np.array(labels, np.uint8),
        np.array(["Training"] * n if usage is None else usage),
        np.array(names),
        {},
    )


def csv_dataset(n=6):
    return dataset(
        [f"fer{i:07d}.png" for i in range(n)], np.arange(n) % 7, np.repeat(USAGES, n // 3)
    )


TABLE = [votes(neutral=i, happiness=10 - i) for i in range(6)]


def write(path, header, rows):
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def own(path, rows=TABLE, usage=None):
    usage = np.repeat(USAGES, 2).tolist() if usage is None else usage
    # FER+ numbers its images without those it leaves out, so never by row
    cells = [
        [use, f"fer{i + 50:07d}.png", *row]
        for i, (use, row) in enumerate(zip(usage[: len(rows)], rows, strict=True))
    ]
    return write(path / "fer2013new.csv", f"Usage,Image name,{','.join(NAMES)}", cells)


def by_image(path, cells):
    """cells: (image, row, usage, emotion, votes)."""
    rows = [[*cell[:4], *cell[4]] for cell in cells]
    return write(path / "ferplus_by_image.csv", f"image,row,usage,emotion,{','.join(NAMES)}", rows)


def refused(data, path):
    with pytest.raises(DataError) as caught:
        ferplus.join(data, path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_own_file_joins_by_row_number_also_a_part_in_another_order(tmp_path):
    found = ferplus.join(csv_dataset(), own(tmp_path))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, TABLE)
    part = csv_dataset().take(np.array([4, 1]))
    np.testing.assert_array_equal(ferplus.join(part, own(tmp_path)), [TABLE[4], TABLE[1]])
    assert ferplus.join(csv_dataset().take(np.zeros(6, bool)), own(tmp_path)).shape == (0, 10)


def test_own_file_of_other_data_is_refused(tmp_path):
    message = refused(dataset(["Training_5.jpg"], [0]), own(tmp_path))  # not numbered by row
    assert "fer2013new.csv" in message and "Training_5.jpg" in message
    usage = np.repeat(USAGES, 2).tolist()
    usage[3] = "PrivateTest"
    message = refused(csv_dataset(), own(tmp_path, usage=usage))
    assert message.startswith("fer2013new.csv, row 5: Usage is 'PrivateTest'")
    message = refused(csv_dataset(), own(tmp_path, rows=TABLE[:4]))
    assert "ends with row 5" in message and "row 7" in message


def test_images_join_by_name_and_emotion_since_names_repeat(tmp_path):
    path = by_image(
        tmp_path,
        [
            ("Training_1.jpg", 7, "Training", 0, votes(anger=9)),
            ("Training_2.jpg", 3, "Training", 5, votes(surprise=8)),
            ("Training_2.jpg", 4, "Training", 6, votes(neutral=7)),
        ],
    )
    data = dataset(
        ["Training_2.jpg", "Training_9.jpg", "Training_1.png", "Training_2.jpg"], [6, 2, 0, 5]
    )
    expected = [votes(neutral=7), [-1] * 10, votes(anger=9), votes(surprise=8)]
    np.testing.assert_array_equal(ferplus.join(data, path), expected)


def test_selected_classes_keep_their_votes(tmp_path):
    path = by_image(tmp_path, [("Training_1.jpg", 0, "Training", 4, votes(sadness=9))])
    data = select_classes(dataset(["Training_1.jpg", "Training_2.jpg"], [4, 3]), ["sad", "happy"])
    np.testing.assert_array_equal(ferplus.join(data, path)[0], votes(sadness=9))

    message = refused(dataset(["Training_1.jpg"], [3]), path)
    assert message.startswith("ferplus_by_image.csv, row 2: emotion is 4 (sadness)")
    assert "Training_1.jpg as 3 (happiness)" in message


def test_a_csv_dataset_joins_the_image_file_by_row(tmp_path):
    path = by_image(
        tmp_path,
        [
            ("PublicTest_8.jpg", 3, "PublicTest", 3, votes(happiness=10)),
            ("Training_3.jpg", 0, "Training", 0, votes(anger=6)),
            ("Training_4.jpg", 900, "Training", 0, votes(anger=5)),
        ],
    )
    found = ferplus.join(csv_dataset(), path)
    np.testing.assert_array_equal(found[[0, 3]], [votes(anger=6), votes(happiness=10)])
    assert (found[[1, 2, 4, 5]] == -1).all()


A = ("a.jpg", 1, "Training", 1, votes())
OTHER_ROWS = [
    ([("a.jpg", 1, "Training", 2, votes())], None, "row 2: emotion is '2'.*'1'"),
    ([("a.jpg", 1, "PublicTest", 1, votes())], None, "row 2: usage is 'PublicTest'.*'Training'"),
    ([A, A], "a.jpg", "row 3: image a .*also in row 2"),
    ([A, ("b.jpg", *A[1:])], "fer0000001.png", "row 3: row 1 is also in row 2"),
    ([("a.jpg", "x", *A[2:])], None, "row 2: row is 'x'"),
    ([(*A[:3], "x", A[4])], None, "row 2: emotion is 'x'"),
]


@pytest.mark.parametrize(("cells", "name", "expected"), OTHER_ROWS)
def test_rows_of_other_images_or_given_twice_are_refused(tmp_path, cells, name, expected):
    given = dataset([name], [1]) if name else csv_dataset()
    with pytest.raises(DataError, match=expected):
        ferplus.join(given, by_image(tmp_path, cells))


@pytest.mark.parametrize("value", ["-1", "x", "", "1.5", "11", "99999999999999999999", "²"])
def test_what_is_no_vote_is_named_by_row_and_column(tmp_path, value):
    rows = [list(row) for row in TABLE]
    rows[4][NAMES.index("fear")] = value
    message = refused(csv_dataset(), own(tmp_path, rows=rows))
    assert message.startswith(f"fer2013new.csv, row 6: fear is {value[:40]!r}")
    assert "0 to 10" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a CSV"),
        (b"a,b\n1,2\n", "no column 'image'.*found: a, b"),
        (b"emotion,pixels,Usage\n0,1,Training\n", "no column 'neutral'.*found: emotion"),
        (f"Usage,Image name,{','.join(NAMES)}\n".encode(), "no votes"),
        ("Usage,Image name\n".encode("utf-16"), "not a CSV"),
        (b"\x80\x04\x95\xff\xfe" * 50, "not a CSV"),
        (b"Usage,a\n1,2,3,4\n5\n", "row 1|not a CSV"),
    ],
)
def test_what_is_not_a_vote_file_is_refused(tmp_path, content, expected):
    (tmp_path / "votes.csv").write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        ferplus.join(csv_dataset(), tmp_path / "votes.csv")
    assert "votes.csv" in str(caught.value) and str(caught.value).isprintable()


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "no such file" in refused(csv_dataset(), tmp_path / "none.csv")
    assert "cannot be read" in refused(csv_dataset(), tmp_path)


def test_majority_is_minus_one_where_no_emotion_of_fer2013_leads():
    rows = {
        "anger": (votes(anger=6, disgust=4), 0),
        "disgust": (votes(disgust=4, anger=3, fear=3), 1),
        "fear": (votes(fear=10), 2),
        "happiness": (votes(happiness=9, NF=1), 3),
        "sadness": (votes(sadness=5, neutral=4, unknown=1), 4),
        "surprise": (votes(surprise=5, fear=4), 5),
        "neutral": (votes(neutral=1), 6),
        "tie": (votes(neutral=5, sadness=5), -1),
        "tie with unknown": (votes(happiness=5, unknown=5), -1),
        "contempt": (votes(contempt=6, neutral=4), -1),
        "unknown": (votes(unknown=6, neutral=4), -1),
        "NF": (votes(NF=10), -1),
        "no votes": ([-1] * 10, -1),
        "all zero": (votes(), -1),
    }
    found = ferplus.majority(np.array([row for row, _ in rows.values()], np.int16))
    assert found.dtype == np.int8
    assert dict(zip(rows, found.tolist(), strict=True)) == {k: v for k, (_, v) in rows.items()}
    assert [EMOTIONS[k] for k in found[:7]] == list(rows)[:7]


def test_agreement_counts_images_that_taggers_accepted():
    rows = [
        (votes(anger=6, disgust=4), 0, True),
        (votes(anger=6, disgust=4), 1, False),
        (votes(neutral=2, happiness=2, unknown=6), 6, True),  # unknown is no emotion; first of tie
        (votes(neutral=2, happiness=2, unknown=6), 3, False),
        (votes(contempt=6, fear=4), 2, False),
        (votes(fear=6, NF=4), 2, True),
        (votes(fear=5, NF=5), 2, None),
        ([-1] * 10, 0, None),
    ]
    found = ferplus.agreement(
        np.array([label for _, label, _ in rows], np.uint8), np.array([v for v, _, _ in rows])
    )
    assert found == {"n": 6, "agree": 3, "share": 0.5}
    assert isinstance(found["n"], int) and isinstance(found["share"], float)


def test_real_votes_agree_with_the_published_share():
    real = os.environ.get("FER2013_PATH")
    path = Path(real or ".").with_name("ferplus_by_image.csv") if real else None
    if not path or not path.is_file():
        pytest.skip("needs FER2013_PATH and ferplus_by_image.csv beside it")
    data = load(real, cache=False)
    found = ferplus.join(data, path)
    assert int((found[:, 0] >= 0).sum()) == 31826
    assert ferplus.agreement(data.labels, found) == {
        "n": 31685,
        "agree": 19921,
        "share": pytest.approx(0.629, abs=5e-4),
    }


def test_maps_from_votes_learn_how_labels_came_about():
    """Taggers say neutral where the label says sadness, always: a map knows that."""
    labels = np.tile([4, 3], 150)
    given = np.array([votes(neutral=10), votes(happiness=9, neutral=1)] * 150, np.int16)
    usage = np.repeat(USAGES, 100)
    data = dataset([str(i) for i in range(300)], labels, usage)
    given[-10:] = -1
    found = predicted_labels(data, given)
    assert list(found) == ["leading vote", "logistic regression", "random forest"]
    for predicted in found.values():
        assert (predicted[:-10] == labels[:-10]).all() and (predicted[-10:] == -1).all()
    given[usage == "Training"] = -1
    with pytest.raises(DataError, match="no image of Training"):
        predicted_labels(data, given)


def test_yardstick_scores_maps_and_networks_on_the_images_with_votes(tmp_path):
    labels, usage = np.arange(180) % 7, np.repeat(USAGES, 60)
    given = np.array([votes(**{EMOTIONS[label]: 10}) for label in labels], np.int16)
    given[usage == "PrivateTest"] = -1
    given[60:80] = -1
    run = make_run(tmp_path, "fer_net", correct=30)
    # the helper's run is of images 0 to 59; here these are PublicTest's
    order = np.concatenate([np.arange(60, 120), np.arange(60), np.arange(120, 180)])
    data = dataset([str(i) for i in range(180)], labels, usage[order])
    given[:60], given[60:120] = given[60:120].copy(), given[:60].copy()
    table = yardstick(data, given, [run])
    assert set(table["split"]) == {"PublicTest"} and set(table["n"]) == {40}
    assert table["predictor"].iloc[-1] == "FER-Net, seed 0"
    assert table["accuracy"].iloc[-1] == pytest.approx(10 / 40)  # of places 20 to 59, up to 29
    # data that came without PublicTest, and so a run that was selected on a part of Training
    data.usage[data.usage == "PublicTest"] = "Training"
    cut = make_run(tmp_path / "cut", "fer_net", protocol="pooled")
    assert not len(yardstick(data, given, [cut]))
