"""python -m fer_utils.report STUDY: write report.html from a study's executed notebooks."""

import sys
from pathlib import Path

from fer_utils.base import ResultError
from fer_utils.report import build

if __name__ == "__main__":
    try:
        build(Path(sys.argv[1] if len(sys.argv) > 1 else ".").absolute())
    except ResultError as error:
        sys.exit(f"error: {error}")
