"""The users of the tests. Those named here exist in each sandbox."""

from __future__ import annotations

from typing import NamedTuple


class User(NamedTuple):
    name: str
    password: str

    @classmethod
    def from_text(cls, text: str) -> User:
        """From ``name:password``; the password may contain colons."""
        name, colon, password = text.strip().partition(":")
        if not (name and colon):
            raise ValueError("credentials must have the form name:password")
        return cls(name, password)

    @property
    def session(self) -> str:
        """As oned expects it."""
        return f"{self.name}:{self.password}"

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """For HTTP Basic, in UTF-8."""
        return self.name.encode(), self.password.encode()


USER = User("devuser", "devpass")
OTHER = User("other", "otherpass")
ADMINISTRATOR = User("oneadmin", "opennebula")
