"""`provision-engine runtime …`: serverless runtimes from the command line, over the API."""

from provision_engine.cli.runtime.actions import runtime

__all__ = ["runtime"]
