"""python -m fer_utils.study: the command behind run_all.sh."""

import sys

from fer_utils.study.cli import main

if __name__ == "__main__":
    sys.exit(main())
