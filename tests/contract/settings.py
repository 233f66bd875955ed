"""What the tests run on, from the environment; README.md has the table."""

from __future__ import annotations

import math
import os
import secrets

from tests.support import users as usual
from tests.support import waiting
from tests.support.users import ADMINISTRATOR, User


def _variable(name: str, default: str) -> str:
    return os.environ.get(f"CONTRACT_{name}", default)


ONED = _variable("ONED", "")
ONEFLOW = _variable("ONEFLOW", "")
ENGINE = _variable("ENGINE", "")
IS_REAL = bool(ONED)
ADMIN = User.from_text(_variable("ADMIN", ADMINISTRATOR.session))
MAKES_USERS = IS_REAL and "CONTRACT_ADMIN" in os.environ and "CONTRACT_USER" not in os.environ
"""Whether the administrator creates two users for this session, and removes them again."""


def _user(name: str, password: str, default: User) -> User:
    if MAKES_USERS:
        return User(f"pe-{default.name}-{secrets.token_hex(4)}", secrets.token_hex(8))
    return User(_variable(name, default.name), _variable(password, default.password))


USER = _user("USER", "PASSWORD", usual.USER)
STRANGER = _user("STRANGER", "STRANGER_PASSWORD", usual.OTHER)
FLAVOUR = _variable("FLAVOUR", "Function")
DATA_FLAVOUR = _variable("DATA_FLAVOUR", "Data")
DENIED_FLAVOUR = _variable("DENIED_FLAVOUR", "DenyVMTemplate")
FAILING_FLAVOUR = _variable("FAILING_FLAVOUR", "FAILED_DEPLOY")
DISK_MB = int(_variable("DISK_MB", "1025"))


class Patience:
    """How long the tests, and the engine that they start, wait for OpenNebula."""

    def __init__(self) -> None:
        self.is_given = "CONTRACT_SECONDS" in os.environ
        waiting.PATIENCE.seconds = float(_variable("SECONDS", "90" if IS_REAL else "60"))
        self.short_lease_seconds = 20 if IS_REAL else 100
        """The length of a lease that a test waits for; a VM has to run before its end."""

    def measured(self, start_seconds: float) -> None:
        """Fit a real OpenNebula in which a VM runs so long after its service was started.

        That is the scheduler's window and the boot; an ending VM may have to wait for the
        scheduler too, and several tests' VMs for each other.
        """
        if not self.is_given:
            waiting.PATIENCE.seconds = max(waiting.PATIENCE.seconds, 6 * start_seconds)
        self.short_lease_seconds = max(self.short_lease_seconds, math.ceil(2 * start_seconds))


PATIENCE = Patience()
RELEASES = ("real",) if IS_REAL else ("6.8.0", "7.4.0")
