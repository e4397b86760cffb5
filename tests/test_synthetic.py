"""The synthetic faces: a trial without FER2013 must meet its traits, and the same data twice."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_utils.data import EMOTIONS, USAGES, DataError, Dataset, synthetic
from fer_utils.data.synthetic import AUS, CONFUSIONS, EXPRESSIONS, FER2013_COUNTS

TESTS = USAGES[1:]


def generate(n, seed=0):
    arrays, notes = synthetic.generate(n, seed)
    return Dataset(**arrays, provenance=notes)


@pytest.fixture(scope="module")
def faces():
    return generate(1200, 3)


@pytest.fixture
def undrawn(monkeypatch):
    """Images hold the shown emotion's label + 1 and a number of their own instead of a face."""

    def parameters(rng, shown):
        return [SimpleNamespace(label=EMOTIONS.index(e), k=k) for k, e in enumerate(shown)]

    def picture(image, face, rng):
        image = np.full((48, 48), face.label + 1, np.uint8)
        image[1, :2] = divmod(face.k, 256)
        return image

    monkeypatch.setattr(synthetic, "draw_parameters", parameters)
    monkeypatch.setattr(synthetic, "draw", lambda face: None)
    monkeypatch.setattr(synthetic, "degrade", picture)


def pixels(images):
    return [image.tobytes() for image in images]


def black(images):
    return images.reshape(len(images), -1).max(axis=1) == 0


def test_same_n_and_seed_give_the_same_bytes_and_another_seed_does_not():
    np.random.seed(1)
    one = generate(150, 5)
    np.random.seed(2)
    two, other = generate(150, 5), generate(150, 6)
    for field in ("images", "labels", "usage", "names"):
        assert getattr(one, field).tobytes() == getattr(two, field).tobytes()
    assert one.provenance == two.provenance
    assert not set(pixels(one.images)) & set(pixels(other.images))


def test_the_expression_tables_follow_the_label_order():
    """Else a smiling face would be labelled with another emotion."""
    assert tuple(EXPRESSIONS) == tuple(CONFUSIONS) == EMOTIONS
    for emotion, shown in CONFUSIONS.items():
        assert set(shown) <= set(EMOTIONS) - {emotion}


@pytest.mark.parametrize("n", [1, 7, 64, 700, 701, 1234, 35887])
def test_classes_and_splits_keep_the_proportions_of_fer2013(n):
    labels, split = synthetic.label_plan(n, np.random.default_rng(0))
    counts = np.bincount(labels, minlength=7)
    assert len(split) == counts.sum() == n
    assert np.abs(counts - FER2013_COUNTS * n / 35887).max() < 1
    for k in (1, 2):
        share = np.bincount(labels[split == k], minlength=7)
        assert np.abs(share - counts / 10).max() < 1
        assert n < 700 or share.min() >= 2


def test_labels_are_mixed_within_a_split(faces):
    """Else a validation share cut from the end of Training would hold a single class."""
    labels = faces.labels[faces.usage == "Training"]
    assert len(set(labels[:50])) >= 5 and len(set(labels[-50:])) >= 5


def test_eight_percent_of_each_test_split_are_also_in_training(faces):
    training = set(pixels(faces.images[(faces.usage == "Training") & ~black(faces.images)]))
    found = 0
    for split in TESTS:
        images = faces.images[faces.usage == split]
        leaked = sum(image in training for image in pixels(images))
        assert leaked == round(0.08 * len(images))
        found += leaked
    assert found == faces.provenance["test_images_in_training"]


def test_training_repeats_images_and_a_few_repeats_carry_another_label(undrawn):
    faces = generate(5000, 1)
    label_of = {}
    for image, label in zip(pixels(faces.images), faces.labels, strict=True):
        label_of.setdefault(image, []).append(label)
    del label_of[bytes(48 * 48)]
    repeated = [labels for labels in label_of.values() if len(labels) > 1]
    assert sum(map(len, repeated)) - len(repeated) == faces.provenance["repeated_images"] == 240
    assert 3 <= sum(len(set(labels)) > 1 for labels in repeated) <= 24
    training = faces.images[(faces.usage == "Training") & ~black(faces.images)]
    assert len(training) - len(set(pixels(training))) == round(
        0.04 * (faces.usage == "Training").sum()
    )


def test_about_eight_percent_of_the_labels_are_wrong_and_plausibly_so(undrawn):
    faces = generate(5000, 1)
    drawn = ~black(faces.images)
    shown, labels = faces.images[drawn, 0, 0] - 1, faces.labels[drawn]
    wrong = shown != labels
    assert wrong.sum() == faces.provenance["wrong_labels"]
    assert 0.07 < wrong.mean() < 0.095
    likely = [EMOTIONS[s] in CONFUSIONS[EMOTIONS[k]] for s, k in zip(shown, labels, strict=True)]
    assert np.mean(np.array(likely)[wrong]) > 0.95  # all but some repeats with another label


@pytest.mark.parametrize(("n", "expected"), [(999, 0), (1000, 1), (5000, 2)])
def test_constant_images_are_present_from_a_thousand_on(undrawn, n, expected):
    faces = generate(n)
    assert black(faces.images).sum() == faces.provenance["black_images"] == expected


@pytest.mark.parametrize("unit", AUS)
def test_each_action_unit_shows_in_the_drawing(unit):
    """A unit that moves nothing would leave emotions that no model can tell apart."""
    face = synthetic.draw_parameters(np.random.default_rng(0), ["neutral"])[0]
    face.skin = 180
    face.au = dict.fromkeys(AUS, 0.0)
    neutral = synthetic.draw(face)
    face.au[unit] = 1.0
    assert np.abs(synthetic.draw(face) - neutral).max() > 15


def test_smiles_curve_up_and_sad_mouths_down():
    """The drawing must show the emotion that it is labelled with."""
    face = synthetic.draw_parameters(np.random.default_rng(0), ["neutral"])[0]
    face.lean = 0.0
    bend = {}
    for emotion in ("happiness", "neutral", "sadness"):
        face.strokes, face.au = [], {k: EXPRESSIONS[emotion].get(k, 0.0) for k in AUS}
        synthetic.draw_mouth(face)
        upper_lip = face.strokes[0][0][: len(synthetic.ARC)].imag
        bend[emotion] = upper_lip[0] - upper_lip[5]
    assert bend["happiness"] < 0 < bend["neutral"] < bend["sadness"]


def test_the_strongest_faces_and_tiny_sets_can_be_drawn():
    """No draw of the parameters may stop a study."""
    for hair in (False, True):
        face = synthetic.draw_parameters(np.random.default_rng(1), ["fear"])[0]
        face.long, face.au = hair, dict.fromkeys(AUS, 1.4)
        image = synthetic.degrade(synthetic.draw(face), face, np.random.default_rng(0))
        assert image.shape == (48, 48) and image.dtype == np.uint8 and image.std() > 5
    for n in (1, 2, 13):
        faces = generate(n)
        assert len(faces) == n and faces.images.reshape(n, -1).std(axis=1).min() > 5


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-5, 0), (10, -1)])
def test_a_bad_n_or_seed_is_named(n, seed):
    with pytest.raises(DataError, match=f"n {n}, seed {seed}"):
        generate(n, seed)
