"""``python -m provision_engine.sandbox``."""

import sys

from provision_engine.sandbox.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
