"""Images in class folders: the label and usage that a path tells, and a strict decoder."""

import os
import re
import struct
import tempfile
from contextlib import contextmanager

import numpy as np

from fer_utils.fer2013 import EMOTIONS, SIDE, USAGES, Bad, DataError, Faults

STRUCTURE = (
    "expected train|validation|test/<emotion>/*.jpg or .png, or fer2013.csv or icml_face_data.csv"
)
EMOTION_FOLDERS = {
    spelling: label
    for label, spellings in enumerate(
        (
            "anger angry",
            "disgust disgusted",
            "fear fearful afraid scared",
            "happiness happy",
            "sadness sad",
            "surprise surprised",
            "neutral neutrality",
        )
    )
    for spelling in spellings.split()
}
USAGE_FOLDERS = {
    spelling: usage
    for usage, spellings in {
        "Training": "train training trainset trainingset",
        "PublicTest": "validation val valid validate dev validationset publictest",
        "PrivateTest": "test testing testset privatetest",
    }.items()
    for spelling in spellings.split()
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_DECODED = 4096 * 4096  # pixels; a 20 KB PNG can declare far more


def parse_images(
    paths, read, faults: Faults, resize: bool, unit: str = "image"
) -> tuple[tuple, dict]:
    """((images, labels, usage, names), notes) of relative paths; `read` gives the bytes of one."""
    placed, split = _place_images(paths, faults, unit)
    images, labels, usage, names = bytearray(), [], [], []
    converted = resized = 0
    with _quiet_decoder() as decode:
        for name, (use, label) in placed.items():
            try:
                if not name.lower().endswith(IMAGE_SUFFIXES):
                    raise Bad(f"of a type that is not read; use {', '.join(IMAGE_SUFFIXES)}")
                image, was_colour, was_resized = _decode(read(name), decode, resize)
            except Bad as why:
                faults.add(f"{unit} {name}: {why}")
                continue
            converted += was_colour
            resized += was_resized
            images += image.tobytes()
            labels.append(label)
            usage.append(use)
            names.append(name.rsplit("/", 1)[-1])
    notes = {"split": split, "converted": converted, "resized": resized}
    return (images, labels, usage, names), notes


def _place_images(paths, faults: Faults, unit: str) -> tuple[dict, str]:
    """{path: (usage, label)} and how the split was told: "official" (by file name) or "folders"."""
    found, roots, stray = {}, set(), []
    for path in paths:
        *root, parent = path.split("/")[:-1] or [""]
        usage = USAGE_FOLDERS.get(re.sub("[^a-z]", "", root[-1].lower())) if root else None
        label = EMOTION_FOLDERS.get(parent.strip().lower())
        why = f"{parent!r} is not a class folder; the valid ones are {', '.join(EMOTIONS)}"
        if label is None and usage:
            raise DataError(f"{faults.where}, {unit} {path}: {why}")
        if label is None:
            stray.append(f"{unit} {path}: {why}")
            continue
        while root and re.sub("[^a-z]", "", root[-1].lower()) in USAGE_FOLDERS:
            root.pop()
        found[path] = (usage, label)
        roots.add("/".join(root))
    if not found:
        raise DataError(f"{faults.where}: no class folders; {STRUCTURE}")
    for message in stray:
        faults.add(message)
    if len(roots) > 1:
        listed = ", ".join(repr(root or ".") for root in sorted(roots)[:5])
        raise DataError(f"{faults.where}: more than one copy of the data, below {listed}; give one")
    prefixes = [path.rsplit("/", 1)[-1].split("_")[0] for path in found]
    if set(prefixes) <= set(USAGES):
        both = zip(found.items(), prefixes, strict=True)
        return {path: (prefix, label) for (path, (_, label)), prefix in both}, "official"
    for path, (usage, _) in found.items():
        if usage is None:
            raise DataError(f"{faults.where}, {unit} {path}: no split folder above; {STRUCTURE}")
    return found, "folders"


@contextmanager
def _quiet_decoder():
    """Yields decode(bytes) -> (grey image or None, complaints).

    The C libraries below OpenCV print what they dislike straight to file descriptor 2, and that
    print is the only sign of a damaged JPEG, so it is caught for the length of each call.
    """
    import cv2

    with tempfile.TemporaryFile() as file:
        log, kept = file.fileno(), os.dup(2)

        def decode(data: bytes):
            os.dup2(log, 2)
            try:
                image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            except cv2.error:
                image = None
            finally:
                os.dup2(kept, 2)
            length = os.lseek(log, 0, os.SEEK_CUR)
            os.lseek(log, 0, os.SEEK_SET)
            complaints = os.read(log, length)
            os.lseek(log, 0, os.SEEK_SET)
            return image, complaints

        try:
            yield decode
        finally:
            os.close(kept)


def _decode(data: bytes, decode, resize: bool):
    """(grey image (48, 48), was colour, was resized)."""
    header = _image_header(data)
    if header is None:
        raise Bad(f"not an image; expected a JPEG or PNG of {SIDE} x {SIDE} pixels")
    width, height, colour = header
    wrong = (width, height) != (SIDE, SIDE)
    if wrong and not resize:
        right = f"{SIDE} x {SIDE} is right (--resize or resize=True scales)"
        raise Bad(f"{width} x {height} pixels, where {right}")
    if width * height > MAX_DECODED:
        raise Bad(f"{width} x {height} pixels, which is implausible")
    image, complaints = decode(data)
    if image is None or b"Corrupt" in complaints or b"Premature" in complaints:
        raise Bad("not an image that can be decoded; it is damaged or cut short")
    if image.shape != (SIDE, SIDE):
        import cv2

        image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return image, colour, wrong


def _image_header(data: bytes) -> tuple[int, int, bool] | None:
    """(width, height, has colour) as a PNG or JPEG declares them, before anything is decoded."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) > 25:
        width, height = struct.unpack(">II", data[16:24])
        return width, height, data[25] not in (0, 4)
    at = 2 if data.startswith(b"\xff\xd8\xff") else len(data)
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height, data[at + 9] > 1
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
