"""``python -m provision_engine`` is the command line."""

import sys

from provision_engine.cli import main

sys.exit(main())
