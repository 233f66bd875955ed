"""provision_engine.credentials: where OpenNebula's user and password come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision_engine import credentials
from provision_engine.errors import OperatorError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".one").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("content", "login"),
    [
        (b"user:password", ("user", "password")),
        (b"user:password\n", ("user", "password")),
        (b"user:password\r\n", ("user", "password")),
        (b"user:pass:word:\n", ("user", "pass:word:")),
        (b"user:password\nother:line\n", ("user", "password")),
        ("user:pässwörd\u2028x\n".encode(), ("user", "pässwörd\u2028x")),
    ],
)
@pytest.mark.parametrize("named", ["", "~/.one/one_auth", ".one/one_auth"])
def test_the_first_line_is_user_and_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str, content: bytes, login: tuple[str, str]
) -> None:
    monkeypatch.setenv("ONE_AUTH", named)
    (home / ".one/one_auth").write_bytes(content)
    assert credentials.stored() == login


@pytest.mark.parametrize(
    ("named", "content", "reason"),
    [
        ("", None, "^no credentials: write USER:PASSWORD into ~/.one/one_auth, or into the file"),
        ("~/auth", None, "/auth: does not exist"),
        ("~nobody-has-this-name/x", None, "^~nobody-has-this-name/x: the home directory"),
        ("auth", None, r"^auth: does not exist \(ONE_AUTH names it\)$"),
        ("user:password", None, "does not exist"),
        ("/", None, "cannot be read: Is a directory"),
        ("auth", b"", "^auth: the first line must be user:password$"),
        ("auth", b"user\n", "^auth: the first line must be user:password$"),
        ("auth", b":password\n", "^auth: the first line must be user:password$"),
        ("auth", b"user:\npassword\n", "^auth: the first line must be user:password$"),
        ("auth", b"\nuser:password\n", "^auth: the first line must be user:password$"),
        ("auth", b"\xff", "^auth: cannot be read: it is not UTF-8 text$"),
    ],
)
def test_an_unusable_file_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str, content: bytes | None, reason: str
) -> None:
    monkeypatch.setenv("ONE_AUTH", named)
    if content is not None:
        (home / named).write_bytes(content)
    with pytest.raises(OperatorError, match=reason):
        credentials.stored()
