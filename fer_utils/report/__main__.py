"""python -m fer_utils.report STUDY: write report.html from a study's executed notebooks."""

import sys

from fer_utils.base import ResultError
from fer_utils.report import write_report

if __name__ == "__main__":
    try:
        write_report(sys.argv[1] if len(sys.argv) > 1 else ".")
    except ResultError as error:
        sys.exit(f"error: {error}")
