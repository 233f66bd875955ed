"""provision_engine.one_auth: where OpenNebula's user and password come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision_engine import one_auth
from provision_engine.errors import OperatorError


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


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
def test_the_first_line_is_user_and_password(
    tmp_path: Path, content: bytes, login: tuple[str, str]
) -> None:
    file = written(tmp_path / "auth", content)
    assert one_auth.read({"ONE_AUTH": str(file)}) == login


@pytest.mark.parametrize("named", [{}, {"ONE_AUTH": ""}, {"ONE_AUTH": "~/.one/one_auth"}])
def test_the_default_file_and_a_tilde_are_below_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert one_auth.read({}) is None
    written(tmp_path / ".one/one_auth", b"user:password\n")
    assert one_auth.read(named) == ("user", "password")


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("~/auth", "^/nowhere/auth: does not exist"),  # the home directory of the account
        ("~nobody-has-this-name/x", "^~nobody-has-this-name/x: the home directory"),
        ("auth", r"auth: does not exist \(ONE_AUTH names it\)$"),
        ("user:password", "does not exist"),
        ("/", "cannot be read: Is a directory"),
    ],
)
def test_a_named_file_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, reason: str
) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OperatorError, match=reason):
        one_auth.read({"ONE_AUTH": named})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the first line must be user:password"),
        (b"user\n", "the first line must be user:password"),
        (b":password\n", "the first line must be user:password"),
        (b"user:\npassword\n", "the first line must be user:password"),
        (b"\nuser:password\n", "the first line must be user:password"),
        (b"\xff", "cannot be read: it is not UTF-8 text"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    file = written(tmp_path / "auth", content)
    with pytest.raises(OperatorError) as caught:
        one_auth.read({"ONE_AUTH": str(file)})
    assert str(caught.value) == f"{file}: {reason}"


def test_the_password_is_not_shown(tmp_path: Path) -> None:
    file = written(tmp_path / "auth", b"user:password\n")
    assert "password" not in repr(one_auth.read({"ONE_AUTH": str(file)}))
