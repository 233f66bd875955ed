"""``python -m provision_engine.demo`` is the demo."""

from provision_engine.demo.story import main

main()
