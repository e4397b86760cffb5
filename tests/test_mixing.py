"""Mixup and CutMix: label shares are the shares of the pixels."""

import numpy as np

from fer_utils.training import mixing

TARGETS = np.eye(3, dtype=np.float32)[np.arange(60) % 3]


def mixed(images, partner, mix):
    layer = mixing.layer()
    return np.array(layer(images, images[partner], mix))


def flat_images():
    """Image i is grey i all over."""
    return np.tile(np.arange(60, dtype=np.float32)[:, None, None, None], (1, 48, 48, 1))


def test_mixup_adds_images_and_labels_in_the_same_shares():
    rng = np.random.default_rng(0)
    partner, mix, targets = mixing.draw(TARGETS, "mixup", 1.0, 1.0, rng)
    out = mixed(flat_images(), partner, mix)
    kept = mix[:, 0]
    np.testing.assert_allclose(
        out[:, 0, 0, 0], kept * np.arange(60) + (1 - kept) * partner, rtol=1e-4
    )
    expected = kept[:, None] * TARGETS + (1 - kept)[:, None] * TARGETS[partner]
    np.testing.assert_allclose(targets, expected, atol=1e-6)


def test_cutmix_pastes_a_square_and_its_share_of_the_label():
    rng = np.random.default_rng(1)
    partner, mix, targets = mixing.draw(TARGETS, "cutmix", 1.0, 1.0, rng)
    out = mixed(flat_images(), partner, mix)[..., 0]
    for i in range(60):
        if partner[i] == i:
            continue
        of_partner = (out[i] == partner[i]).mean()
        assert ((out[i] == i) | (out[i] == partner[i])).all()
        expected = (1 - of_partner) * TARGETS[i] + of_partner * TARGETS[partner[i]]
        np.testing.assert_allclose(targets[i], expected, atol=1e-5)


def test_only_the_given_share_is_mixed():
    rng = np.random.default_rng(2)
    _, mix, _ = mixing.draw(np.repeat(TARGETS, 50, axis=0), "mixup", 1.0, 0.25, rng)
    assert 0.2 < (mix[:, 0] < 1).mean() < 0.3


def test_images_may_be_bytes():
    images = flat_images().astype(np.uint8)
    mix = np.tile(np.array([0.5, 0, 0, 0, 0], np.float32), (60, 1))
    out = mixed(images, np.arange(60)[::-1], mix)
    np.testing.assert_allclose(out[:, 0, 0, 0], 29.5)
