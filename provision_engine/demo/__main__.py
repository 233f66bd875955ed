"""``python -m provision_engine.demo`` is the demo."""

import sys

from provision_engine.demo.story import main

sys.exit(main())
