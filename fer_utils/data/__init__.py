"""The data: `load` reads FER2013 in the forms people have it; the rest studies and prepares it."""

from fer_utils.base import EMOTIONS, USAGES, DataError
from fer_utils.data.dataset import (
    PROTOCOLS,
    Dataset,
    content_sha256,
    describe,
    load,
    overview,
    pixels_sha256,
    select_classes,
    split,  # fmt: skip
)

__all__ = ["EMOTIONS", "PROTOCOLS", "USAGES", "DataError", "Dataset", "content_sha256"]
__all__ += ["describe", "load", "overview", "pixels_sha256", "select_classes", "split"]
