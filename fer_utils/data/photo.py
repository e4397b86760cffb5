"""Photos from files: every form that Pillow reads, and a name for what it does not read."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_utils.base import DataError

MOST = 300_000_000  # pixels of a photo
NOT_READ = (  # how a file begins that Pillow does not read, and what it is
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "a HEIC photo: export it as JPEG"),
    (rb".{4}ftypavi|\xff\xd8|\x89PNG|GIF8|BM|II\*\0|MM\0\*|RIFF", "damaged or cut short"),
    (rb".{4}ftyp", "a video: save one picture of it as JPEG"),
    (rb"%PDF", "a PDF: export the page as JPEG"),
    (rb"\s*<(\?xml|!doctype|html|svg)", "a web page or drawing (HTML, SVG), not an image"),
    (rb"\Z", "not an image: the file is empty"),
    (rb"", "not an image that can be read; give a .jpg or .png"),
)


def read(path: str | Path) -> Image.Image:
    """A photo as an image of mode L or RGB, upright by the camera's mark; DataError names the file.

    Grey values of more than 8 bits are scaled by their range; transparent parts become white.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST // 2  # an error at twice that
    try:
        content = Path(path).expanduser().read_bytes()
        with warnings.catch_warnings(action="ignore"):
            return _eight_bits(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    except FileNotFoundError:
        raise DataError(f"photo {path}: there is no such file") from None
    except UnidentifiedImageError:
        matches = (name for begin, name in NOT_READ if re.match(begin, content, re.S | re.I))
        raise DataError(f"photo {path}: {next(matches)}") from None
    except Image.DecompressionBombError:
        raise DataError(f"photo {path}: more than {MOST // 10**6} megapixels") from None
    except (OSError, RuntimeError, SyntaxError, ValueError, EOFError) as error:
        # an error of the system has a number, one of Pillow's has none; RuntimeError: ~nobody
        why = "damaged or cut short" if getattr(error, "errno", 0) is None else "cannot be read"
        why = f"{why} ({getattr(error, 'strerror', None) or error})"
        raise DataError(f"photo {path}: {why}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":  # 16 bits and more
        values = np.asarray(image, np.float64)
        low, high = np.nanmin(values), np.nanmax(values)
        scaled = (values - low) * (255 / max(high - low, 1e-9))
        return Image.fromarray(np.nan_to_num(scaled).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
