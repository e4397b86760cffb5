"""python -m fer_utils.training params/models/<id>.yaml --data PATH --results DIR"""

import sys

from fer_utils.training.train import main

if __name__ == "__main__":
    sys.exit(main())
