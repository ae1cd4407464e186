"""`python -m trews` is the command `trews`."""

import sys

from trews.cli import main

if __name__ == "__main__":
    sys.exit(main())
