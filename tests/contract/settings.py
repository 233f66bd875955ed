"""What the tests run on, from the environment; the table stands in README.md."""

from __future__ import annotations

import os

from tests.support.users import ADMINISTRATOR, User


def _variable(name: str, default: str) -> str:
    return os.environ.get(f"CONTRACT_{name}", default)


ONED = _variable("ONED", "")
ONEFLOW = _variable("ONEFLOW", "")
ENGINE = _variable("ENGINE", "")
IS_REAL = bool(ONED)
USER = User(_variable("USER", "devuser"), _variable("PASSWORD", "devpass"))
STRANGER = User(_variable("STRANGER", "other"), _variable("STRANGER_PASSWORD", "otherpass"))
ADMIN = ADMINISTRATOR
"""Of the sandbox only."""
FLAVOUR = _variable("FLAVOUR", "Function")
DATA_FLAVOUR = _variable("DATA_FLAVOUR", "Data")
DENIED_FLAVOUR = _variable("DENIED_FLAVOUR", "DenyVMTemplate")
FAILING_FLAVOUR = _variable("FAILING_FLAVOUR", "FAILED_DEPLOY")
DISK_MB = int(_variable("DISK_MB", "1025"))
SECONDS = float(_variable("SECONDS", "90" if IS_REAL else "10"))
RELEASES = ("real",) if IS_REAL else ("6.8.0", "7.4.0")
