"""`python -m amikafka_tail`."""

import sys

from amikafka_tail.cli import main

if __name__ == "__main__":
    sys.exit(main())
