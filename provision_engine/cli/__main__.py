"""``python -m provision_engine.cli`` is the command line."""

import sys

from provision_engine.cli.program import main

sys.exit(main())
