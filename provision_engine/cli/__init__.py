"""The command line: `provision-engine COMMAND`, and the same under its old name."""

from provision_engine.cli.program import main as main
