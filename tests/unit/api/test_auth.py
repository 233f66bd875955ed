"""HTTP Basic authentication with OpenNebula's user and password."""

from __future__ import annotations

import base64

import pytest

from provision_engine.api import incoming
from provision_engine.cloud.client import Credentials
from provision_engine.errors import Unauthorized


def basic(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return "Basic " + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("header", "user", "password"),
    [
        (basic("devuser:devpass"), "devuser", "devpass"),
        (basic("u:p:with::colons:"), "u", "p:with::colons:"),
        (basic("jürgen:pässwörd"), "jürgen", "pässwörd"),
        (basic("jürgen:pässwörd".encode("latin-1")), "jürgen", "pässwörd"),
        (basic("li:漢字"), "li", "漢字"),
        (basic("u: p "), "u", " p "),
        (basic("u:p").replace("Basic", "bAsIc"), "u", "p"),
        ("  " + basic("u:p").replace(" ", "   ") + " ", "u", "p"),
    ],
)
def test_user_and_password_are_read(header: str, user: str, password: str) -> None:
    assert incoming.credentials(header) == (user, password)


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", " ", "Basic", "Basic ", "Basic !!!", "Basic dTp", "Basic dTp w", "Basic é"),
        *("Bearer dTpw", "dTpw"),
        *map(basic, ("nocolon", ":p", "u:", ":", "", "u\n:p", "u:p\x00", "u:p\x7f", "u:🙂")),
        basic("u:p\r\nX: y"),
        basic(b"u:\x80\x81"),
    ],
)
def test_other_headers_are_unauthorized_and_not_repeated(header: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        incoming.credentials(header)
    assert caught.value.status == 401
    token = (header or "").partition(" ")[2].strip()
    assert not token or token not in str(caught.value)


def test_credentials_do_not_show_the_password() -> None:
    credentials = Credentials("devuser", "devpass")
    assert "devpass" not in f"{credentials} {credentials!r}"
    assert credentials.session == "devuser:devpass"
