"""Requests that are refused by their path or their headers, and the headers of all responses."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from provision_engine.api import incoming, ui
from provision_engine.api.routes import MAY_END_WITH_SLASH
from provision_engine.app import create_app
from tests.unit.support import configuration

RUNTIMES = "/serverless-runtimes"
HOST = {"Host": "engine.example:1337"}


@pytest.fixture
def client() -> FlaskClient:
    return create_app(configuration()).test_client()


# ---- other sites --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://engine.example:1337"},
        {"Sec-Fetch-Site": "unheard-of"},
        {"Origin": "http://attacker.example"},
        {"Origin": "https://engine.example.attacker.example:1337"},
        {"Origin": "http://engine.example"},
        {"Origin": "http://engine.example:1338"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", RUNTIMES),
        ("PUT", f"{RUNTIMES}/7"),
        ("DELETE", f"{RUNTIMES}/7"),
        ("POST", f"{RUNTIMES}/7/suspend"),
        ("PATCH", RUNTIMES),
        ("POST", "/nowhere"),
    ],
)
def test_a_change_from_another_site_is_refused_before_the_login(
    client: FlaskClient, method: str, path: str, headers: dict[str, str]
) -> None:
    """Row 12: neither login nor body are looked at, so there is no 401 that asks for a password."""
    answer = client.open(path, method=method, headers=HOST | headers, data=b"{")
    assert answer.status_code == 403
    assert answer.get_json()["error"] == "Request from another site"
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://engine.example:1337"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://name.of.the.proxy"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://engine.example:1337"},
        {"Origin": "https://engine.example:1337"},
        {"Origin": "https://proxy.example", "X-Forwarded-Host": "proxy.example"},
    ],
)
def test_devices_and_the_engines_own_page_are_not_refused(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    answer = client.post(RUNTIMES, headers=HOST | headers, data=b"{")
    assert answer.status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_is_possible_from_anywhere(client: FlaskClient, method: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "null"}
    assert client.open("/server/version", method=method, headers=headers).status_code == 200


# ---- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics%2f", "/metrics%2F", "/%6detrics", "/%2fmetrics", "/metrics%00", "/METRICS"),
        *("/metrics/", "/metrics//", "/metrics/.", "/.//metrics", "/x/../metrics"),
        *("/readyz/", "/%72eadyz", "/healthz/", "/openapi.json/", "/ui/", "/docs%2f"),
        *("/server%2fconfig", "/server//config", "/serverless-runtimes%2f7"),
    ],
)
def test_a_path_has_one_spelling(client: FlaskClient, path: str) -> None:
    """Row 13: a proxy that restricts a path does not have to know other spellings."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.get_json()["error"] == "Not found"


@pytest.mark.parametrize("path", sorted(MAY_END_WITH_SLASH - {"/"}))
def test_the_first_paths_may_end_with_a_slash(client: FlaskClient, path: str) -> None:
    path = path.replace("<runtime_id>", "7")
    with_slash, without = (client.get(p).status_code for p in (f"{path}/", path))
    assert with_slash == without != 404


# ---- the client's address -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # forged: nobody trusts this peer
        ("10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("::ffff:10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "198.51.100.7, 2001:db8::1, 10.0.0.1", "198.51.100.7"),
        ("10.1.2.3", "10.0.0.1", "10.0.0.1"),
        ("10.1.2.3", None, "10.1.2.3"),
        ("10.1.2.3", 'x" user=root', "10.1.2.3"),
        ("10.1.2.3", "198.51.100.7, evil, 10.0.0.1", "10.0.0.1"),
        ("", "198.51.100.7", "-"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(
    peer: str, said: str | None, address: str
) -> None:
    app = create_app(configuration("server: {trusted_proxies: [10.0.0.0/8, '2001:db8::1']}"))
    headers = {} if said is None else {"X-Forwarded-For": said}
    with app.test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert incoming.client_address() == address


# ---- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ui", "/docs", "/ui/js/main.js"])
def test_the_page_keeps_its_own_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers.getlist("Content-Security-Policy") == [ui.POLICY]
    assert headers.getlist("Cache-Control") == ["no-cache"]
