"""Synthetic faces with the traits of FER2013, for trials without the real images.

Each face is a drawing of an expression, a set of FACS action units (AUs, 0 absent to 1 strong); the
emotions are the usual EMFACS combinations (Ekman & Friesen; means in EXPRESSIONS):

    1/2 inner/outer brow raise   4 brow lowering      5 upper lid raise    6 cheek raise
    7 lid tighten                9 nose wrinkle      10 upper lip raise   12 lip corner pull
    15 lip corner depress       17 chin raise        20 lip stretch       23 lip tighten
    25 lips part                26 jaw drop

To the drawings come the things that make FER2013 hard: unequal classes, wrong labels, images
repeated within and across the splits, black images. A score on them says nothing about people.
In the drawing functions a point is the complex number x + iy, in pixels of the 48x48 image from the
middle of an upright face, y downwards.
"""

from types import SimpleNamespace

import cv2
import numpy as np

from fer_utils.base import SIDE, USAGES, DataError

AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 25, 26)
EXPRESSIONS = {
    "anger": {4: 1.0, 5: 0.3, 7: 0.7, 17: 0.2, 23: 0.9},
    "disgust": {4: 0.3, 9: 1.0, 10: 0.7, 15: 0.5, 17: 0.6},
    "fear": {1: 0.9, 2: 0.5, 4: 0.5, 5: 0.9, 20: 0.8, 25: 0.7, 26: 0.3},
    "happiness": {6: 0.8, 12: 1.0, 25: 0.8},
    "sadness": {1: 0.9, 4: 0.5, 15: 0.9, 17: 0.5},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.6, 26: 0.9},
    "neutral": {},
}
OVERSAMPLING, SHIFT = 4, 4  # SHIFT: fractional bits of OpenCV's drawing coordinates
GRID = np.arange(SIDE, dtype=np.float32)
ARC = np.linspace(-1, 1, 11)  # along an eye or the mouth, from corner to corner
ARCH = 1 - ARC**2
BOTH = (-1, 1)  # the sides of the face
BROW = np.linspace(0, 1, 8)  # along a brow, from its inner end
CIRCLE = np.exp(1j * np.linspace(0, 2 * np.pi, 25))
FER2013_COUNTS = np.array([4953, 547, 5121, 8989, 6077, 4002, 6198])  # in label order
# What the face shows when its label (the key) is wrong; repeated names are likelier.
CONFUSIONS = {
    "anger": ("disgust", "disgust", "sadness", "neutral"), "disgust": ("anger", "anger", "sadness"),
    "fear": ("surprise", "surprise", "sadness"), "happiness": ("neutral", "surprise"),
    "sadness": ("neutral", "neutral", "fear"), "surprise": ("fear", "fear", "happiness"),
    "neutral": ("sadness", "sadness", "anger", "happiness"),
}  # fmt: skip
# shares of all images, of Training, of each test split, and of the repeats with another label
WRONG_LABELS, REPEATED, LEAKED, CONFLICTING = 0.08, 0.04, 0.08, 0.05


def draw_parameters(rng, shown):
    """A namespace for each emotion in `shown`: AUs, the person, the picture (pixels, radians)."""
    n = len(shown)

    def uniform(low, high):
        return rng.uniform(low, high, n)

    def normal(spread, mean=0.0):
        return mean + spread * rng.standard_normal(n).clip(-2.5, 2.5)

    def chance(p):
        return rng.random(n) < p

    table = {e: [aus.get(k, 0.0) for k in AUS] for e, aus in EXPRESSIONS.items()}
    means = np.array([table[emotion] for emotion in shown])
    stray = rng.normal(-0.1, 0.1, means.shape).clip(0)
    units = uniform(0.9, 1.3)[:, None] * rng.normal(1, 0.12, means.shape) * means + stray
    skin, background = uniform(150, 210), uniform(60, 190)
    columns = dict(
        au=units.clip(0, 1.4), lean=normal(0.05),  # lean: one half moves more than the other
        skin=skin, lips=uniform(0.6, 0.8), hair=uniform(15, 0.5 * skin), long=chance(0.4),
        width=normal(0.6, 16.6), chin=normal(0.6, 21.5), jaw=uniform(0.75, 0.95),
        eye_x=normal(0.3, 8.0), eye_w=normal(0.25, 4.2), eye_h=normal(0.12, 1.8),
        slant=normal(0.2), gaze_x=normal(0.5), gaze_y=normal(0.2), iris=uniform(20, 90),
        brow_y=normal(0.3, -10.6), brow_w=uniform(0.8, 1.5), brow_arch=uniform(0.5, 1.5),
        nose_w=normal(0.3, 3.2), nose_y=normal(0.4, 4.6), mouth_y=normal(0.4, 12.4),
        mouth_w=normal(0.5, 6.8), lip=normal(0.2, 1.35), hairline=normal(0.8, -16.0),
        yaw=normal(0.1), pitch=normal(0.06), roll=normal(0.06),
        scale=normal(0.04, 1.2), shift_x=normal(0.8), shift_y=normal(0.8), background=background,
        shirt=uniform(20, 235), light_x=normal(0.3), light_y=normal(0.2, -0.3),
        ambient=uniform(0.6, 0.85), gain=uniform(0.95, 1.25), offset=normal(8), slope=normal(10),
        blur=uniform(0, 0.6), noise=uniform(0, 3), quality=rng.integers(60, 98, n),
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    faces = [SimpleNamespace(**dict(zip(columns, row, strict=True))) for row in rows]
    for face in faces:
        face.au = dict(zip(AUS, face.au, strict=True))
    return faces


def place(face, points):
    """Points on the face to pixels (complex) of the posed face, the head being an ellipsoid."""
    x, y = points.real, points.imag
    depth = 16 * np.sqrt(np.maximum(1 - (x / 19) ** 2 - (y / 30) ** 2, 0))
    # A crop follows the face: half of what turning moves its middle (depth 16) is subtracted.
    turned = x * np.cos(face.yaw) + (depth - 8) * np.sin(face.yaw)
    nodded = y + (depth - 8) * np.sin(face.pitch)
    centre = 23.5 + face.shift_x + 1j * (24 + face.shift_y)
    return face.scale * (turned + 1j * nodded) * np.exp(1j * face.roll) + centre


def fill(face, points, tone, sides=(1,), width=0):
    """Add a filled outline, or a line of a width, mirrored on side -1."""
    face.strokes += [(points if side > 0 else -points.conj(), tone, width) for side in sides]


def line(face, points, tone, width=0.6, sides=(1,)):
    fill(face, points, tone, sides, max(1, round(width * OVERSAMPLING * face.scale)))


def crease(face, points, depth, width=0.6, sides=(1,)):
    """A fold of the skin, darker than the skin by the share `depth`; faint ones are left out."""
    if depth > 0.06:
        line(face, np.asarray(points), face.skin * (1 - min(depth, 0.6)), width, sides)


def band(x, upper, lower):
    """The closed outline between two curves over the same x."""
    return np.concatenate([x + 1j * upper, (x + 1j * lower)[::-1]])


def oval(width, height, power=1.0, points=CIRCLE):
    """An ellipse of these half axes; a `power` below 1 makes it squarer."""
    x, y = points.real, points.imag
    return width * np.sign(x) * np.abs(x) ** power + 1j * height * np.sign(y) * np.abs(y) ** power


def outline(face, grow=0.0):
    """The contour of the skin: jaw and chin below, the forehead above."""
    chin = face.chin + 2.6 * face.au[26] - 0.4 * face.au[17]
    jaw = oval(face.width + grow, chin, face.jaw, CIRCLE[:13])
    return np.concatenate([jaw, oval(face.width + grow, 25, 0.85, CIRCLE[13:])])


def draw_head(face):
    if face.long:
        fill(face, oval(face.width + 4, 32, 0.5), face.hair * 0.8)
    fill(face, np.array([-9 + 12j, 9 + 12j, 11 + 32j, -11 + 32j]), face.skin * 0.62)
    fill(face, np.array([-40 + 34j, -12 + 25j, 28j, 12 + 25j, 40 + 34j]), face.shirt)
    fill(face, face.width * 1.06 - 1j + oval(2.3, 5), face.skin * 0.8, BOTH)  # ears
    fill(face, outline(face), face.skin)


def draw_hair(face):
    """Hair around the face: an arch from the hairline to a wider one over the head."""
    upper = CIRCLE[12:]  # from left to right over the top
    inner = oval(face.width - 0.8, -face.hairline, 0.55, upper)
    outer = oval(face.width + 2.4, 27.5, 0.8, upper)
    tip = np.array([face.width - 0.2, face.width + 0.6]) + 1j * (26 if face.long else -2)
    fill(face, np.concatenate([inner, tip, outer[::-1], -tip[::-1].conj()]), face.hair)


def draw_eye(face, side, au):
    x = face.eye_x + face.eye_w * ARC
    squint = 0.3 * au[6] + 0.3 * au[7] + 0.25 * au[9]
    up = max(face.eye_h * (1 + 0.85 * au[5] - 0.7 * squint - 0.1 * au[4]), 0.25)
    low = max(face.eye_h * (0.7 + 0.18 * au[5] - squint), 0.1)
    level = -5.5 + face.slant * ARC
    lid, bottom = level - up * ARCH**0.7, level + low * ARCH
    fill(face, band(x, lid, bottom), 236, [side])
    # Iris and pupil are whole discs; skin drawn over their rims makes the lids.
    middle = face.eye_x + side * face.gaze_x + 1j * (face.gaze_y - 5.6)
    for radius, tone in ((1.85, face.iris), (0.9, 5)):
        fill(face, middle + radius * CIRCLE[::2], tone, [side])
    fill(face, band(x, np.minimum(lid, level - 2.4 * ARCH), lid), face.skin * 0.93, [side])
    fill(face, band(x, bottom, bottom + 1.8), face.skin * 0.93, [side])
    line(face, x + 1j * lid, face.skin * 0.25, 0.75, [side])
    line(face, x + 1j * bottom, face.skin * 0.68, 0.45, [side])
    crease(face, x + 1j * (lid - 1 + 0.25 * au[5]), 0.3, 0.6, [side])
    crease(face, x + 1j * (bottom + 1.3), 0.12 + 0.2 * au[6], 0.6, [side])


def draw_brow(face, side, au):
    x = face.eye_x - 4.6 - 1.2 * au[4] * (1 - BROW) + 10.2 * BROW
    y = face.brow_y - face.brow_arch * np.sin(np.pi * BROW**1.3) + 0.8 * BROW**3 + 0.7 * au[9]
    y += au[4] * (3.0 - 2.0 * BROW) - 3.7 * au[1] * (1 - BROW) ** 1.1
    y -= 3.0 * au[2] * np.sin(0.75 * np.pi * BROW**1.4)
    half = face.brow_w * np.minimum(0.65 + BROW, 1) * (1.05 - BROW**2)
    fill(face, band(x, y - half, y + 0.7 * half), min(face.hair * 0.9, face.skin * 0.6), [side])
    crease(face, [1.5 - 12j, 1.1 - 8.2j], 0.45 * max(au[4], 0.8 * au[9]), 0.6, [side])  # frown


def draw_nose(face):
    au, w, y = face.au, face.nose_w * (1 + 0.15 * face.au[9]), face.nose_y - 0.8 * face.au[9]
    shaded = [-1 if face.light_x > 0 else 1]
    crease(face, [1.6 - 5j, 1.5 - 1j, 2 + 1j * (y - 1.5)], 0.12, 1.0, shaded)
    crease(face, np.array([w - 1j, 0.8 * w + 0.5j, 0.8 + 0.4j, 1j]) + 1j * y, 0.35, 0.6, BOTH)
    fill(face, np.array([0.7, 1.6 - 0.5j, 2 + 0.2j]) + 1j * y, face.skin * 0.3, BOTH)  # nostrils
    fold = w + 1j * y + np.array([0.6 - 1.5j, 2.4 + 1.5j, 3.6 + au[12] + 5j])
    depth = 0.05 + 0.18 * max(au[9], au[10], au[12])
    crease(face, fold, depth, 0.7, BOTH)
    for k in (0, 1.4j):
        crease(face, np.array([0.4 - 4.2j, 2.6 - 5.4j]) + k, 0.45 * au[9], 0.5, BOTH)


def draw_mouth(face):
    au, skin = face.au, face.skin
    wider = 0.33 * au[12] + 0.25 * au[20] - 0.15 * au[23] - 0.2 * au[26] - 0.1 * au[17]
    x = face.mouth_w * (1 + wider) * ARC
    corner = -3.6 * au[12] + 3.3 * au[15] + 0.5 * au[20] + 0.3 * au[10]
    meet = face.mouth_y - 1.0 * au[17] - 0.5 * au[10] + 0.4 * au[12]
    meet = meet + corner * (1 + 2 * face.lean * ARC) * np.abs(ARC) ** 1.8
    gap = 2.4 * au[25] * (au[25] > 0.15) + 6.5 * au[26] * (au[26] > 0.1)
    opening = ARCH ** (0.8 - 0.3 * au[20])  # a stretched mouth opens like a slot
    top = meet - (0.25 * gap + 0.8 * au[10] * au[25]) * opening
    low = meet + 0.75 * gap * opening
    thick = face.lip * max(1 - 0.6 * au[23] - 0.2 * au[12] - 0.2 * au[20], 0.2)
    bow = 1 - 0.35 * np.exp(-((ARC / 0.16) ** 2))
    upper = top - (0.85 * thick + 0.7 * au[10]) * ARCH**0.6 * bow
    lower = low + (1.15 * thick + 0.5 * au[17]) * ARCH**0.8
    fill(face, band(x, upper, top), skin * face.lips * 0.9)
    fill(face, band(x, low, lower), skin * face.lips)
    if gap > 0.3:
        fill(face, band(x, top, low), skin * 0.16)
        if au[12] + au[20] + au[10] > 0.3:
            fill(face, band(x, top, np.minimum(top + 1.9, low - 0.15))[1:-1], 225)  # teeth
    else:
        line(face, x + 1j * meet, skin * 0.3, 0.6 + 0.2 * au[23])
    tip = np.array([0, 0.7 + 0.7j * np.sign(corner)])
    crease(face, x[-1] + 1j * meet[-1] + tip, 0.45, 0.7)
    crease(face, x[0] + 1j * meet[0] - tip.conj(), 0.45, 0.7)
    crease(face, x[3:-3] + 1j * (lower[3:-3] + 1.1), 0.18 + 0.25 * au[17], 0.8)


def paint(background, face):
    """The face's strokes (points, tone, width; width 0 for a filled outline) drawn in order."""
    canvas = np.full((SIDE * OVERSAMPLING,) * 2, background, np.uint8)
    points = place(face, np.concatenate([stroke[0] for stroke in face.strokes])) + 0.5 + 0.5j
    pixels = points.view(float).reshape(-1, 1, 2) * (OVERSAMPLING << SHIFT)
    pixels, start = np.round(pixels).astype(np.int32), 0
    for stroke, tone, width in face.strokes:
        part = [pixels[start : start + len(stroke)]]
        start += len(stroke)
        if width:
            cv2.polylines(canvas, part, False, tone, width, cv2.LINE_AA, SHIFT)
        else:
            cv2.fillPoly(canvas, part, tone, cv2.LINE_AA, SHIFT)
    return cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def shading(face):
    """Light on the face, (48, 48), about 1: a lit ellipsoid with soft hollows and bulges."""
    au, lamp = face.au, np.array([face.light_x, face.light_y, 1])
    x = ((GRID - 23.5 - face.shift_x) / 20)[None, :]
    y = ((GRID - 24 - face.shift_y) / 28)[:, None]
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    lit = np.maximum(lamp[0] * x + lamp[1] * y + lamp[2] * z, 0) / np.linalg.norm(lamp)
    blobs = [  # x, y, half width, half height, strength
        (0, face.nose_y - 1, 1.4, 1.6, 0.14), (0, -15, 8, 3.5, 0.06),
        (-face.eye_x, -6.5, 4, 2.2, -0.16), (face.eye_x, -6.5, 4, 2.2, -0.16),
        (-9, 4.5 - au[6], 3.5, 2.5, 0.05 + 0.12 * au[6] + 0.1 * au[12]),
        (9, 4.5 - au[6], 3.5, 2.5, 0.05 + 0.12 * au[6] + 0.1 * au[12]),
    ]  # fmt: skip
    blobs = np.array(blobs)
    centres = place(face, blobs[:, 0] + 1j * blobs[:, 1])[:, None]
    across = np.exp(-(((GRID - centres.real) / blobs[:, 2:3]) ** 2))
    down = np.exp(-(((GRID - centres.imag) / blobs[:, 3:4]) ** 2)) * blobs[:, 4:]
    return (face.ambient + 1.25 * (1 - face.ambient) * lit) * (1 + down.T @ across)


def draw(face):
    """The face before the camera's faults, float (48, 48) in grey levels."""
    face.strokes = [(outline(face, 1.0), 255, 0)]
    skin, face.strokes = paint(0, face) / 255, []
    draw_head(face)
    draw_nose(face)
    draw_mouth(face)
    for side in BOTH:
        au = {k: strength * (1 + side * face.lean) for k, strength in face.au.items()}
        draw_eye(face, side, au)
        draw_brow(face, side, au)
    draw_hair(face)
    return paint(face.background, face) * (1 + skin * (shading(face) - 1))


def degrade(image, face, rng):
    """The camera's faults, to uint8: exposure, blur, noise, JPEG."""
    image = image + face.slope * (GRID / SIDE - 0.5)
    image = 128 + face.offset + face.gain * (image - 128)
    if face.blur > 0.3:
        image = cv2.GaussianBlur(image, (5, 5), face.blur)
    image = image + face.noise * rng.standard_normal(image.shape, np.float32)
    image = image.round().clip(0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, face.quality))[1]
    return cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)


def label_plan(n, rng):
    """Labels and splits (index into USAGES), (n,) each, in FER2013's proportions.

    From n = 700 on each test split holds two or more images of every class.
    """
    exact = FER2013_COUNTS * n / FER2013_COUNTS.sum()
    counts = exact.astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    test = np.maximum(np.rint(counts * 0.1).astype(int), 2 if n >= 700 else 0)
    parts = [np.repeat(np.arange(7, dtype=np.uint8), k) for k in (counts - 2 * test, test, test)]
    labels = np.concatenate([rng.permutation(part) for part in parts])
    return labels, np.repeat(np.arange(3), [len(part) for part in parts])


def repeat_plan(labels, split, rng):
    """For each image the index of the image whose pixels it has, mostly its own; (n,)."""
    source, copies = np.arange(len(labels)), []
    for k, share in enumerate((REPEATED, LEAKED, LEAKED)):
        members = np.flatnonzero(split == k)
        copies += rng.permutation(members)[: round(share * len(members))].tolist()
    originals = np.setdiff1d(np.flatnonzero(split == 0), copies)
    conflicting = set(rng.permutation(copies)[: round(CONFLICTING * len(copies))].tolist())
    for i in copies:
        pool = originals[(labels[originals] != labels[i]) == (i in conflicting)]
        if len(pool):  # a tiny data set may hold nothing to copy
            source[i] = rng.choice(pool)
    return source


def generate(n=5000, seed=0):
    """(arrays images, labels, usage, names; what they hold) of `n` faces, about 1 ms each.

    The same n and seed give the same bytes (with the same versions of NumPy and OpenCV).
    """
    if n < 1 or seed < 0:
        raise DataError(f"synthetic images: n {n}, seed {seed}; right are n >= 1 and seed >= 0")
    rng = np.random.default_rng(seed)
    labels, split = label_plan(n, rng)
    source = repeat_plan(labels, split, rng)
    repeat = source != np.arange(n)
    free = np.setdiff1d(np.arange(n), np.concatenate([np.flatnonzero(repeat), source[repeat]]))
    black = rng.permutation(free)[: max(round(n * 13 / 35887), 1) if n >= 1000 else 0]
    drawn = np.setdiff1d(np.flatnonzero(~repeat), black)
    given = np.array(list(EXPRESSIONS), dtype=object)[labels]
    shown = given.copy()
    for i in rng.permutation(drawn)[: round(WRONG_LABELS * len(drawn))]:
        shown[i] = rng.choice(CONFUSIONS[given[i]])
    images = np.zeros((n, SIDE, SIDE), np.uint8)
    for i, face in zip(drawn, draw_parameters(rng, shown[drawn]), strict=True):
        images[i] = degrade(draw(face), face, rng)
    notes = {
        "synthetic": True,
        "wrong_labels": int((shown[source] != given).sum()),
        "repeated_images": int(repeat.sum()),
        "test_images_in_training": int((repeat & (split > 0)).sum()),
        "black_images": len(black),
    }
    arrays = {"images": images[source], "labels": labels, "usage": np.array(USAGES)[split]}
    return arrays | {"names": np.array([f"synthetic_{i:05d}" for i in range(n)])}, notes
