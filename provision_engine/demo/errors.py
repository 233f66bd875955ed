"""What the demo raises when a step fails."""

from provision_engine.errors import OperatorError


class DemoError(OperatorError):
    """A step failed; the text says which and why."""
