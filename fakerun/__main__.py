"""`python -m fakerun` is the command `fakerun`."""

import sys

from fakerun.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
