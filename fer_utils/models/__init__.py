"""The networks: those of the papers, FER-Net, and the device that they run on."""

from fer_utils.models import fer_net, papers  # noqa: F401  (their builders register themselves)
from fer_utils.models.builders import SHARED, build, builder, check, describe, names, source

__all__ = ["SHARED", "build", "builder", "check", "describe", "names", "source"]
