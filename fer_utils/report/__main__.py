"""python -m fer_utils.report STUDY: write report.html from a study's executed notebooks.

python -m fer_utils.report --reference: write results/reference/report.html from its records.
"""

import sys

from fer_utils.base import status
from fer_utils.report import write_reference, write_report

if __name__ == "__main__":
    study = sys.argv[1] if len(sys.argv) > 1 else "."
    sys.exit(status(lambda: write_reference() if study == "--reference" else write_report(study)))
