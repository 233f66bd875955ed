"""The former module of OperatorError, which is now in provision_engine.errors."""

from provision_engine.errors import OperatorError as OperatorError
