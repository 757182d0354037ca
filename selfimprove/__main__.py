"""``python -m selfimprove``: the same as the ``selfimprove`` command.

Contract: none of its own. See it work: ``python -m selfimprove --help``.
"""

import sys

from selfimprove.cli import main

if __name__ == "__main__":
    sys.exit(main())
