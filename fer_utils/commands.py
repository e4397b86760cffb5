"""What the package's commands share: one message for what is wrong, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fer_utils.fer2013 import DataError
from fer_utils.parameters import ParameterError
from fer_utils.results import ResultError

AFTER_EPOCH = "interrupted; the same command goes on after the last epoch"


def status(work: Callable[[], None], interrupted: str = "interrupted") -> int:
    """Exit status of some work: 0, 1 (diverged), 2 (bad input) or 130, with one message."""
    try:
        work()
    except (DataError, ParameterError, ResultError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
    return 0
