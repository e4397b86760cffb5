"""Rows of fer2013.csv and icml_face_data.csv: their reader and what it finds wrong with them."""

import csv

import numpy as np

from fer_utils.fer2013 import SIDE, USAGES, Bad, DataError, Faults

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
PIXELS = SIDE * SIDE
MAX_LINE = 2**20


def parse_rows(stream, size: int, faults: Faults) -> tuple[tuple, dict]:
    """((images, labels, usage, names), notes) of a CSV of `size` bytes; bad rows go to `faults`."""
    columns, read = _parse_header(stream, faults.where)
    images, labels, usage, names = bytearray(), [], [], []
    index = 0  # of the data row, by which FER+ joins; bad rows count, blank lines do not
    number = 1
    while line := stream.readline(MAX_LINE):
        number += 1
        read += len(line)
        if len(line) == MAX_LINE:
            raise DataError(f"{faults.where}, row {number}: longer than {MAX_LINE} bytes")
        if not line.strip():
            continue
        try:
            label, use, pixels = _parse_row(line, columns, last=read >= size)
            labels.append(label)
            usage.append(use)
            images += pixels
            names.append(f"fer{index:07d}.png")
        except Bad as why:
            faults.add(f"row {number}: {why}")
        index += 1
    if not index:
        raise DataError(f"{faults.where}: a header but no rows; expected one row for every image")
    return (images, labels, usage, names), {"split": "official"}


def _parse_header(stream, where: str) -> tuple[list[str], int]:
    line = stream.readline(MAX_LINE)
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{where}: encoded as UTF-16; save it as UTF-8")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(line) == MAX_LINE:
        raise DataError(f"{where}: not a CSV in UTF-8 text; expected a header emotion,pixels,Usage")
    try:
        columns = [name.strip() for name in next(csv.reader([text.strip()]), [])]
    except csv.Error as error:
        raise DataError(f"{where}, row 1: not a row of a CSV ({error})") from None
    for name in ("emotion", "pixels", "Usage"):
        if columns.count(name) != 1:
            found = ", ".join(columns)[:200] or "none"
            fault = f"no column {name!r}" if name not in columns else f"two columns {name!r}"
            raise DataError(
                f"{where}, row 1: {fault}; needed: emotion, pixels, Usage; found: {found}"
            )
    return columns, len(line)


def _parse_row(line: bytes, columns: list[str], last: bool) -> tuple[int, str, bytes]:
    fields = line.strip().split(b",")
    if b'"' in line:
        try:
            text = next(csv.reader([line.decode("utf-8", "replace")]))
        except csv.Error as error:
            raise Bad(f"not a row of a CSV ({error})") from None
        fields = [field.encode() for field in text]
    row = dict(zip(columns, fields, strict=False))
    hint = "; it is the last row, so the file looks truncated" if last else ""
    if len(fields) != len(columns):
        why = f"{len(fields)} columns where the header names {len(columns)}"
        if len(fields) < len(columns):
            why += f", {len(row.get('pixels', b'').split())} of {PIXELS} pixels{hint}"
        raise Bad(why)
    label = row["emotion"].strip()
    if label not in (b"0", b"1", b"2", b"3", b"4", b"5", b"6"):
        raise Bad(f"emotion is {_shown(label)}, where a whole number from 0 to 6 is right")
    pixels = _parse_pixels(row["pixels"], hint)
    usage = row["Usage"].strip().decode("utf-8", "replace")
    if usage not in USAGES:
        cut = hint if any(known.startswith(usage) for known in USAGES) else ""
        raise Bad(f"Usage is {_shown(usage)}, where one of {', '.join(USAGES)} is right{cut}")
    return int(label), usage, pixels


def _parse_pixels(field: bytes, hint: str) -> bytes:
    if field and not field.translate(None, b"0123456789 "):
        values = np.fromstring(field, np.int64, sep=" ")
        if values.size == PIXELS and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    tokens = field.split()  # the slow way finds the fault, and accepts tabs
    for position, token in enumerate(tokens, 1):
        if not token.isdigit() or len(token) > 9 or int(token) > 255:
            right = "where a whole number from 0 to 255 is right"
            raise Bad(f"pixel {position} is {_shown(token)}, {right}")
    if len(tokens) != PIXELS:
        short = hint if len(tokens) < PIXELS else ""
        raise Bad(f"{len(tokens)} pixels where {SIDE} x {SIDE} = {PIXELS} are right{short}")
    return bytes(map(int, tokens))


def _shown(value: bytes | str) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return repr(text[:40]) if text else "blank"
