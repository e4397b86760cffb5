"""Loading, caching, class selection and splits: what a study that relies on them would lose."""

import hashlib
import json
import multiprocessing
import os
import sys
import time
import types
import zipfile

import numpy as np
import pytest

from fer_utils import datasets, sources
from fer_utils.cache import ARRAYS
from fer_utils.datasets import EMOTIONS, USAGES, DataError, Dataset, describe, load, select_classes

TOTALS = (4953, 547, 5121, 8989, 6077, 4002, 6198)  # of the real FER2013
SPLIT_SIZES = (28709, 3589, 3589)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder of this test; no test reads or fills the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FER_CACHE", str(folder))
    return folder


def make(n=42, seed=0, usage=None):
    images = np.random.default_rng(seed).integers(0, 256, (n, 48, 48), dtype=np.uint8)
    usage = np.resize(np.repeat(USAGES, 7), n) if usage is None else np.asarray(usage)
    names = np.array([f"fer{i:07d}.png" for i in range(n)])
    return Dataset(images, np.arange(n, dtype=np.uint8) % 7, usage, names, {})


def labelled(labels, usage):
    """A Dataset of these labels and usages; its images do not matter."""
    n = len(labels)
    names = np.array([str(i) for i in range(n)])
    images = np.broadcast_to(np.uint8(0), (n, 48, 48))
    return Dataset(images, np.asarray(labels, np.uint8), np.asarray(usage), names, {})


def write_csv(path, dataset, bad=()):
    lines = ["emotion,pixels,Usage"]
    for i, (image, label, use) in enumerate(
        zip(dataset.images, dataset.labels, dataset.usage, strict=True)
    ):
        lines.append(f"{9 if i in bad else label},{' '.join(map(str, image.ravel()))},{use}")
    path.write_text("\n".join(lines) + "\n")
    return path


def aged(path, seconds=60):
    """The path, its time set back as of a file that was not written this moment."""
    past = time.time() - seconds
    os.utime(path, (past, past))
    return path


def no_parsing(monkeypatch):
    def refuse(*_):
        raise AssertionError("parsed again")

    monkeypatch.setattr(sources, "parse", refuse)


def same(a, b):
    for name in ("images", "labels", "usage", "names"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.provenance == b.provenance


# Dataset and provenance


def test_constants_that_labels_are_numbered_by():
    expected = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    assert expected == EMOTIONS
    assert USAGES == ("Training", "PublicTest", "PrivateTest")
    assert issubclass(DataError, ValueError)


def test_importing_needs_neither_tensorflow_nor_the_heavy_libraries():
    code = (
        "import sys, fer_utils.datasets, fer_utils.sources, fer_utils.ferplus\n"
        "print([m for m in ('tensorflow', 'keras', 'pandas', 'sklearn', 'cv2', 'kagglehub')"
        " if m in sys.modules])"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_error_is_one_plain_line_whatever_it_quotes():
    assert str(DataError("a\nb\tc  d \x1b[31m\u202e")) == "a b c d ?[31m?"
    assert len(str(DataError("x" * 10**6))) < 1000


def test_take_by_index_and_mask():
    data = make()
    part = data.take(np.array([5, 0, 5]))
    assert len(part) == 3 and part.names.tolist() == [data.names[i] for i in (5, 0, 5)]
    np.testing.assert_array_equal(part.images, data.images[[5, 0, 5]])
    happy = data.take(data.labels == 3)
    assert set(happy.labels.tolist()) == {3} and len(happy) == 6
    assert sum(sum(c.values()) for c in happy.provenance["counts"].values()) == 6
    assert "counts" not in data.provenance  # the original keeps its own


def test_provenance_tells_all_of_the_source(tmp_path):
    data = make()
    path = write_csv(tmp_path / "fer2013.csv", data)
    told = load(path).provenance
    assert json.loads(json.dumps(told)) == told
    assert told["kind"] == "csv" and told["source"] == "fer2013.csv"
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["split"] == "official" and told["loader_version"] == datasets.LOADER_VERSION
    assert (told["converted"], told["resized"], told["bad"], told["bad_count"]) == (0, 0, [], 0)
    assert told["counts"] == {usage: dict.fromkeys(EMOTIONS, 2) for usage in USAGES}
    digests = [
        hashlib.sha256(str(u).encode() + bytes([k]) + x.tobytes()).digest()
        for u, k, x in zip(data.usage, data.labels, data.images, strict=True)
    ]
    expected = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    assert told["pixels_sha256"] == expected
    assert str(tmp_path) not in json.dumps(told)


def test_pixel_digest_forgets_order_but_not_label_usage_or_pixel(tmp_path):
    def digest(data):
        return load(write_csv(tmp_path / "a.csv", data), cache=False).provenance["pixels_sha256"]

    data = make()
    expected = digest(data)
    assert digest(data.take(np.arange(42)[::-1])) == expected
    labels, usage, images = data.labels.copy(), data.usage.copy(), data.images.copy()
    labels[0], usage[0], images[0, 0, 0] = 5, "PrivateTest", images[0, 0, 0] ^ 1
    for changed in ({"labels": labels}, {"usage": usage}, {"images": images}):
        arrays = {name: getattr(data, name) for name in ARRAYS} | changed
        assert digest(Dataset(**arrays)) != expected


def test_folder_digest_covers_paths_and_contents(tmp_path):
    import cv2

    (tmp_path / "f/train/happy").mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"f/train/happy/{i}.png"), make().images[i])
    first = load(tmp_path / "f", cache=False).provenance["sha256"]
    assert load(tmp_path / "f", cache=False).provenance["sha256"] == first
    os.rename(tmp_path / "f/train/happy", tmp_path / "f/train/sad")
    second = load(tmp_path / "f", cache=False).provenance["sha256"]
    cv2.imwrite(str(tmp_path / "f/train/sad/1.png"), make().images[5])
    third = load(tmp_path / "f", cache=False).provenance["sha256"]
    assert len({first, second, third}) == 3


# load


def test_on_bad_takes_two_values(tmp_path):
    with pytest.raises(DataError, match="'error' or 'skip'"):
        load(write_csv(tmp_path / "a.csv", make()), on_bad="ignore")


def test_synthetic_passes_n_and_seed_on(monkeypatch):
    asked = []

    def generate(n, seed):
        asked.append((n, seed))
        data = make(21)
        data.provenance["wrong_labels"] = 4
        return data

    monkeypatch.setattr("fer_utils.synthetic.generate", generate)
    specs = ("synthetic", "synthetic:n=4000,seed=3", "synthetic:seed=7", "synthetic: n=9 ")
    told = [load(spec, cache=False).provenance for spec in specs]
    assert asked == [(5000, 0), (4000, 3), (5000, 7), (9, 0)]
    assert told[1]["kind"] == "synthetic" and told[1]["source"] == "synthetic:n=4000,seed=3"
    assert told[1]["sha256"] == told[1]["pixels_sha256"] == told[0]["sha256"]
    assert told[1]["wrong_labels"] == 4
    assert told[1]["counts"]["Training"]["anger"] == 1
    for spec in ("synthetic:m=3", "synthetic:n", "synthetic:n=x", "synthetic:n=-3", "synthetic:3"):
        with pytest.raises(DataError, match="synthetic:n=5000,seed=0"):
            load(spec)
    assert len(asked) == 4


def test_drawn_faces_are_kept_and_damage_to_them_draws_anew(tmp_path, monkeypatch):
    from fer_utils import synthetic

    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    first = load("synthetic:n=61,seed=5")
    [kept] = tmp_path.glob("synthetic-61-5-*.npz")
    monkeypatch.setattr(synthetic, "generate", None)
    again = load("synthetic:seed=5,n=61")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert again.provenance == first.provenance
    monkeypatch.undo()
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    kept.write_bytes(b"PK cut")
    assert load("synthetic:n=61,seed=5").provenance == first.provenance
    assert len(load(kept).images) == 61


def test_embedded_synthetic_faces_load():
    data = load("synthetic:n=60,seed=1")
    assert len(data) == 60 and data.images.shape == (60, 48, 48)
    assert json.loads(json.dumps(data.provenance)) == data.provenance


def test_kaggle_downloads_then_loads_the_folder(tmp_path, monkeypatch):
    write_csv(tmp_path / "fer2013.csv", make())
    asked = []
    client = types.SimpleNamespace(dataset_download=lambda h: asked.append(h) or str(tmp_path))
    monkeypatch.setitem(sys.modules, "kagglehub", client)
    data = load("kaggle")
    assert len(data) == 42 and data.provenance["source"] == "kaggle"
    load("kaggle:owner/some-name")
    assert asked == ["msambare/fer2013", "owner/some-name"]
    with pytest.raises(DataError, match="kaggle:owner/name"):
        load("kaggle:../x/y")


def test_kaggle_without_a_network_says_what_to_do(monkeypatch):
    def fail(handle):
        raise ConnectionError("Max retries\nexceeded")

    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=fail))
    with pytest.raises(DataError) as caught:
        load("kaggle:owner/name")
    message = str(caught.value)
    assert "no network" in message and "by hand and give its path" in message
    assert "https://www.kaggle.com/datasets/owner/name" in message and message.isprintable()
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # not installed
    with pytest.raises(DataError, match="by hand"):
        load("kaggle")


# npz


def test_saved_data_loads_again_with_classes_and_origin(tmp_path):
    data = load(write_csv(tmp_path / "fer2013.csv", make()))
    select_classes(data, ["happy", "sad"]).save(tmp_path / "part.npz")
    part = load(tmp_path / "part.npz")
    assert part.classes == ("happiness", "sadness")
    assert part.provenance["kind"] == "npz" and part.provenance["source"] == "part.npz"
    assert part.provenance["origin"] == "fer2013.csv"
    digest = hashlib.sha256((tmp_path / "part.npz").read_bytes()).hexdigest()
    assert part.provenance["sha256"] == digest
    np.testing.assert_array_equal(part.images, data.images[np.isin(data.labels, (3, 4))])
    assert sorted(set(part.labels.tolist())) == [0, 1]
    assert sorted(path.name for path in tmp_path.glob("*part*")) == ["part.npz"]


def test_an_npz_of_the_four_arrays_alone_is_enough(tmp_path):
    data = make()
    arrays = {name: getattr(data, name) for name in ARRAYS}
    np.savez_compressed(tmp_path / "a.npz", **arrays | {"labels": data.labels.astype(np.int64)})
    found = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.images, data.images)
    assert found.labels.dtype == np.uint8 and found.provenance["counts"]["Training"]["fear"] == 2


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(b"before")

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        make().save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


BAD_NPZ = {
    "no labels": ({"labels": None}, "no array 'labels'"),
    "objects": ({"usage": np.array(["Training"] * 42, object)}, "plain arrays"),
    "float images": ({"images": np.zeros((42, 48, 48))}, "images are float64"),
    "other size": (
        {"images": np.zeros((42, 64, 64), np.uint8)},
        r"images are uint8 \(42, 64, 64\)",
    ),
    "other number": ({"labels": np.zeros(41, np.uint8)}, "images are"),
    "no image": (
        {"images": np.zeros((0, 48, 48), np.uint8), "labels": np.zeros(0, np.uint8)},
        "images are",
    ),
    "label 7": ({"labels": np.full(42, 7)}, "labels are not whole numbers from 0 to 6"),
    "label -1": ({"labels": np.full(42, -1)}, "labels are not"),
    "float labels": ({"labels": np.zeros(42)}, "labels are not"),
    "usage": ({"usage": np.array(["test"] * 42)}, "usage is not one of Training"),
    "names": ({"names": np.arange(42)}, "names are not"),
    "classes": ({"provenance": np.array('{"classes": ["joy"]}')}, "does not name emotions"),
    "nested classes": ({"provenance": np.array('{"classes": [[]]}')}, "does not name emotions"),
    "provenance list": ({"provenance": np.array("[]")}, "does not name emotions"),
    "provenance text": ({"provenance": np.array("x")}, "plain arrays"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_an_npz_of_other_arrays_is_refused(tmp_path, case):
    changed, expected = BAD_NPZ[case]
    data = make()
    arrays = {name: getattr(data, name) for name in ARRAYS} | changed
    np.savez(tmp_path / "a.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(DataError, match=expected) as caught:
        load(tmp_path / "a.npz")
    assert str(caught.value).startswith("a.npz: ") and str(caught.value).isprintable()


def test_an_npz_that_is_none_is_refused(tmp_path):
    make().save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        for name in ARRAYS:
            archive.writestr(name, b"text")
    np.save(tmp_path / "b", np.zeros(3))
    os.rename(tmp_path / "b.npy", tmp_path / "b.npz")
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    header = whole.replace(b"'shape': (", b"'shape':  ", 1)
    (tmp_path / "header.npz").write_bytes(header)
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04N.")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("other", "b", "cut", "header", "pickle", "empty"):
        with pytest.raises(DataError, match=f"{name}.npz"):
            load(tmp_path / f"{name}.npz")


# cache


def test_the_second_load_comes_from_the_cache_and_is_the_same(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    first = load(path)
    no_parsing(monkeypatch)
    same(load(path), first)
    assert [p.name for p in cache.glob("*.npz")] == [
        f"{first.provenance['sha256']}-v{datasets.LOADER_VERSION}.npz"
    ]


def test_the_cache_goes_by_content_not_by_path(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    load(path)
    os.rename(path, tmp_path / "other.csv")
    write_csv(path, make(seed=1))
    np.testing.assert_array_equal(load(path).images, make(seed=1).images)
    no_parsing(monkeypatch)
    moved = load(tmp_path / "other.csv")
    np.testing.assert_array_equal(moved.images, make().images)
    assert moved.provenance["source"] == "other.csv"


def test_cache_false_neither_reads_nor_writes(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    load(path, cache=False)
    assert not cache.exists()
    load(path)
    no_parsing(monkeypatch)
    with pytest.raises(AssertionError, match="parsed again"):
        load(path, cache=False)


def test_a_cached_lenient_load_does_not_hide_faults_from_a_strict_one(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make(), bad=(4,))
    first = load(path, on_bad="skip")
    for _ in range(2):
        with pytest.raises(DataError, match="row 6"):
            load(path)
    no_parsing(monkeypatch)
    same(load(path, on_bad="skip"), first)
    assert first.provenance["bad_count"] == 1


def test_resized_images_are_cached_apart(tmp_path):
    import cv2

    (tmp_path / "f/train/happy").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "f/train/happy/a.png"), np.full((96, 96), 8, np.uint8))
    assert load(tmp_path / "f", resize=True).provenance["resized"] == 1
    with pytest.raises(DataError, match="96 x 96"):
        load(tmp_path / "f")
    assert load(tmp_path / "f", resize=True).provenance["resized"] == 1


def test_clean_data_is_cached_once_for_all_options(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    load(path, on_bad="skip", resize=True)
    no_parsing(monkeypatch)
    load(path)
    assert len(list(cache.glob("*.npz"))) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "junk", "other data"])
def test_a_damaged_cache_file_is_made_anew(tmp_path, cache, damage):
    path = write_csv(tmp_path / "fer2013.csv", make())
    first = load(path)
    (entry,) = cache.glob("*.npz")
    whole = entry.read_bytes()
    if damage == "other data":
        make(seed=5).save(entry)
    else:
        junk = {"empty": b"", "cut": whole[:-1000], "junk": b"x" * 500}
        entry.write_bytes(junk[damage])
    same(load(path), first)
    assert entry.read_bytes() == whole


def test_a_flipped_byte_in_the_cache_is_noticed(tmp_path, cache):
    path = write_csv(tmp_path / "fer2013.csv", make())
    first = load(path)
    (entry,) = cache.glob("*.npz")
    data = bytearray(entry.read_bytes())
    data[5000] ^= 1
    entry.write_bytes(data)
    same(load(path), first)


@pytest.mark.parametrize("trouble", ["a file is in the way", "full disk"])
def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path, cache, monkeypatch, trouble
):
    path = aged(write_csv(tmp_path / "fer2013.csv", make()))
    if trouble == "full disk":

        def full(file, **_):
            file.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
    else:
        cache.write_text("not a folder")
    np.testing.assert_array_equal(load(path).images, make().images)
    if trouble == "full disk":
        assert [p for p in cache.iterdir() if p.suffix != ".txt"] == []


def test_what_a_killed_process_left_in_the_cache_goes_after_a_day(tmp_path, cache):
    path = aged(write_csv(tmp_path / "fer2013.csv", make()))
    load(path)
    (entry,) = cache.glob("*.npz")
    old, new = (entry.with_name(f".{entry.stem}.{word}.partial.npz") for word in ("old", "new"))
    for left, age in ((old, 2), (new, 0)):
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age * 24 * 3600,) * 2)
    entry.unlink()
    load(path)
    assert entry.exists() and new.exists() and not old.exists()


def test_where_the_cache_lies(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    monkeypatch.setenv("FER_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load(path)
    assert len(list((tmp_path / "xdg/fer-study").glob("*.npz"))) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load(path)
    assert len(list((tmp_path / "home/.cache/fer-study").glob("*.npz"))) == 1


def test_an_unchanged_file_is_not_hashed_twice(tmp_path, monkeypatch):
    path = aged(write_csv(tmp_path / "fer2013.csv", make()))
    first = load(path)

    def refuse(_):
        raise AssertionError("hashed again")

    with monkeypatch.context() as patch:
        patch.setattr(sources, "digest", refuse)
        same(load(path), first)
    write_csv(path, make(seed=1))
    np.testing.assert_array_equal(load(path).images, make(seed=1).images)


def test_a_file_written_this_moment_is_hashed_every_time(tmp_path):
    """Its time cannot tell a change within the clock's tick."""
    data = make()
    path = write_csv(tmp_path / "fer2013.csv", data)
    load(path)
    before = path.stat()
    data.labels[:] = data.labels[::-1]  # a text of the same length
    write_csv(path, data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    np.testing.assert_array_equal(load(path).labels, data.labels)


def test_a_damaged_memo_of_the_hash_is_ignored(tmp_path, cache):
    path = aged(write_csv(tmp_path / "fer2013.csv", make()))
    first = load(path)
    (memo,) = cache.glob("*.txt")
    for text in ("", "x", "a b c", memo.read_text()[:-20]):
        memo.write_text(text)
        same(load(path), first)


def test_a_file_that_changes_while_it_is_read_is_not_cached(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "fer2013.csv", make())
    parse = sources.parse

    def slow(place, on_bad, resize):
        found = parse(place, on_bad, resize)
        write_csv(path, make(49, seed=1))
        return found

    monkeypatch.setattr(sources, "parse", slow)
    load(path)
    assert list(cache.glob("*.npz")) == []


def _load_often(path):
    return [load(path).provenance["pixels_sha256"] for _ in range(5)]


def test_processes_at_once_do_not_harm_each_other(tmp_path, cache):
    path = write_csv(tmp_path / "fer2013.csv", make(210))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_load_often, [path] * 4)
    assert len({digest for part in found for digest in part}) == 1
    assert all(not p.name.startswith(".") for p in cache.iterdir())


# classes and splits


def test_selected_classes_are_renumbered_in_the_order_given():
    data = make()
    part = select_classes(data, ["Happy", "sad", "anger"])
    assert part.classes == ("happiness", "sadness", "anger")
    assert part.provenance["classes"] == ["happiness", "sadness", "anger"]
    kept = np.isin(data.labels, (3, 4, 0))
    np.testing.assert_array_equal(part.images, data.images[kept])
    expected = [{3: 0, 4: 1, 0: 2}[k] for k in data.labels[kept].tolist()]
    assert part.labels.tolist() == expected and part.labels.dtype == np.uint8
    assert part.provenance["counts"]["Training"] == {"happiness": 2, "sadness": 2, "anger": 2}
    again = select_classes(part, ["angry", "happiness"])
    assert again.classes == ("anger", "happiness")
    np.testing.assert_array_equal(again.images, data.images[np.isin(data.labels, (3, 0))])
    assert data.classes == EMOTIONS


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["joy"], "unknown class 'joy'.*anger, disgust"),
        ([], "no class given"),
        (["happy", "happiness"], "twice"),
        ([3], "unknown class 3"),
    ],
)
def test_classes_that_are_none_are_refused(classes, expected):
    with pytest.raises(DataError, match=expected):
        select_classes(make(), classes)


def test_a_class_that_was_not_selected_cannot_be_selected_later():
    with pytest.raises(DataError, match="'fear'.*happiness, sadness"):
        select_classes(select_classes(make(), ["happy", "sad"]), ["fear"])


def test_pooled_held_out_part_has_korchis_counts():
    labels = np.repeat(np.arange(7), TOTALS)
    rng = np.random.default_rng(0)
    data = labelled(rng.permutation(labels), rng.permutation(np.repeat(USAGES, SPLIT_SIZES)))
    part = select_classes(data, ["happy", "sad", "neutral"])
    found = datasets.split(part, "pooled", seed=0)
    assert np.bincount(part.labels[found["test"]]).tolist() == [899, 608, 620]
    assert found["test"] is found["validation"] or np.array_equal(
        found["test"], found["validation"]
    )
    both = np.concatenate([found["train"], found["test"]])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(part)))
    other = datasets.split(part, "pooled", seed=1)
    assert not np.array_equal(other["test"], found["test"])
    np.testing.assert_array_equal(datasets.split(part, "pooled")["test"], found["test"])


def random_data(n=700, usages=USAGES, seed=0):
    rng = np.random.default_rng(seed)
    return labelled(rng.integers(0, 7, n), rng.choice(usages, n))


def where(data, *usages):
    return np.flatnonzero(np.isin(data.usage, usages))


def test_official_split_is_by_usage():
    data = random_data()
    found = datasets.split(data, "official", seed=5)
    assert list(found) == ["train", "validation", "test"]
    for part, usage in zip(found.values(), USAGES, strict=True):
        np.testing.assert_array_equal(part, where(data, usage))


def test_official_split_without_public_test_holds_out_training():
    data = random_data(usages=("Training", "PrivateTest"))
    found = datasets.split(data, "official", seed=5)
    training = where(data, "Training")
    np.testing.assert_array_equal(
        np.sort(np.concatenate([found["train"], found["validation"]])), training
    )
    counts = np.bincount(data.labels[training])
    held = np.bincount(data.labels[found["validation"]])
    assert (np.abs(held - counts / 10) < 1).all()
    assert len(found["validation"]) == -(-len(training) // 10)
    np.testing.assert_array_equal(found["test"], where(data, "PrivateTest"))


def test_kaggle_split_tests_on_all_that_is_not_training():
    data = random_data()
    found = datasets.split(data, "kaggle")
    np.testing.assert_array_equal(found["train"], where(data, "Training"))
    for part in ("validation", "test"):
        np.testing.assert_array_equal(found[part], where(data, "PublicTest", "PrivateTest"))


def test_publictest_split_selects_and_tests_on_public_test():
    data = random_data()
    found = datasets.split(data, "publictest")
    np.testing.assert_array_equal(found["train"], where(data, "Training"))
    for part in ("validation", "test"):
        np.testing.assert_array_equal(found[part], where(data, "PublicTest"))


def test_holdout_split_tests_on_public_test_and_never_on_private():
    data = random_data()
    found = datasets.split(data, "holdout", seed=2, held_out=0.2)
    np.testing.assert_array_equal(found["test"], where(data, "PublicTest"))
    training = where(data, "Training")
    assert len(found["validation"]) == -(-len(training) // 5)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([found["train"], found["validation"]])), training
    )
    again = datasets.split(data, "holdout", seed=2, held_out=0.2)
    np.testing.assert_array_equal(again["validation"], found["validation"])


@pytest.mark.parametrize("protocol", datasets.PROTOCOLS)
def test_parts_are_sorted_and_training_is_apart(protocol):
    found = datasets.split(random_data(), protocol)
    for part in found.values():
        assert part.dtype.kind == "i" and (np.diff(part) > 0).all() and len(part)
    assert not set(found["train"]) & (set(found["validation"]) | set(found["test"]))


@pytest.mark.parametrize(
    ("protocol", "usages", "expected"),
    [
        ("official", ("Training", "PublicTest"), "PrivateTest"),
        ("official", ("PublicTest", "PrivateTest"), "Training"),
        ("kaggle", ("Training",), "PublicTest or PrivateTest"),
        ("kaggle", ("PublicTest",), "Training"),
        ("holdout", ("Training", "PrivateTest"), "PublicTest"),
        ("crossed", USAGES, "official, publictest, holdout, kaggle, pooled"),
        ("publictest", ("Training", "PrivateTest"), "PublicTest"),
    ],
)
def test_a_part_that_is_missing_is_named(protocol, usages, expected):
    with pytest.raises(DataError, match=expected):
        datasets.split(random_data(usages=usages), protocol)


@pytest.mark.parametrize("held_out", [0.0, 1.0, -0.1, 2.5])
def test_a_share_that_is_none_is_refused(held_out):
    with pytest.raises(DataError, match="cannot be held out"):
        datasets.split(random_data(), "pooled", held_out=held_out)


def test_too_few_images_for_a_stratified_split_are_refused():
    with pytest.raises(DataError, match="cannot be held out"):
        datasets.split(make(7), "pooled")


def test_describe_counts_classes_by_usage_with_totals():
    data = labelled([0, 0, 3, 6, 6, 6], ["Training", "PublicTest"] + ["Training"] * 4)
    table = describe(data)
    assert table.index.tolist() == [*EMOTIONS, "total"]
    assert table.columns.tolist() == [*USAGES, "total"]
    assert table.loc["anger"].tolist() == [1, 1, 0, 2]
    assert table.loc["neutral"].tolist() == [3, 0, 0, 3]
    assert table.loc["total"].tolist() == [5, 1, 0, 6]
    assert describe(select_classes(data, ["neutral"])).loc["total", "total"] == 3
