"""TLS towards oned and oneflow: verified, with an authority of one's own if need be."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provision_engine.cloud.oned import Oned
from provision_engine.cloud.oneflow import Oneflow
from provision_engine.cloud.transport import Backend
from provision_engine.deadline import Deadline
from provision_engine.errors import BackendTimeout
from provision_engine.sandbox import Sandbox
from tests.support.client import FAAS, Device, Response
from tests.support.engine import engine_in_process
from tests.support.programs import make_certificate

Certificate = tuple[Path, Path]
"""With its key."""


class TlsFront:
    """TLS in front of a service that speaks none."""

    def __init__(self, url: str, certificate: Certificate) -> None:
        target = urlsplit(url)
        self._target = ("127.0.0.1", target.port or 0)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}{target.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            outside = self._context.wrap_socket(connection, server_side=True)
            inside = socket.create_connection(self._target)
            threading.Thread(target=_copy, args=(inside, outside), daemon=True).start()
            _copy(outside, inside)


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Certificate:
    """That of another host."""
    return make_certificate(tmp_path, "DNS:elsewhere.example")


def created(sandbox: Sandbox, certificate: Certificate, **tls: Any) -> Response:
    """The response to a create on an OpenNebula behind TLS."""
    fronts = [TlsFront(url, certificate) for url in (sandbox.oned_url, sandbox.oneflow_url)]
    urls = {"one_xmlrpc": fronts[0].url, "oneflow_server": fronts[1].url}
    with (
        contextlib.closing(fronts[0]),
        contextlib.closing(fronts[1]),
        engine_in_process(urls | {"tls": tls}) as url,
    ):
        return Device(url).post(FAAS=FAAS)


def test_an_authority_of_ones_own_is_trusted(sandbox: Sandbox, certificate: Certificate) -> None:
    assert created(sandbox, certificate, ca_file=str(certificate[0])).status == 201
    assert sandbox.store.count()["vms"] == 1


def test_a_stranger_is_told_nothing(sandbox: Sandbox, certificate: Certificate) -> None:
    """Above all not the password, which is part of every call."""
    response = created(sandbox, certificate)
    assert response.status == 503
    assert "certificate verify failed" in response.text
    assert sandbox.calls == []


def test_a_certificate_of_another_host_is_refused(sandbox: Sandbox, elsewhere: Certificate) -> None:
    response = created(sandbox, elsewhere, ca_file=str(elsewhere[0]))
    assert response.status == 503
    assert "certificate" in response.text
    assert sandbox.calls == []


def test_verification_can_be_turned_off(sandbox: Sandbox, elsewhere: Certificate) -> None:
    assert created(sandbox, elsewhere, verify=False).status == 201


ENOUGH_DRIPS = 500
"""A client that ignores its deadline reads so many bytes, one by one."""


class Dripping:
    """A server that goes on byte by byte after the start of its response."""

    def __init__(self, start: bytes) -> None:
        self._start, self.drips = start, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener, self._listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(self._start)
            for self.drips in range(ENOUGH_DRIPS):
                connection.sendall(b".")
                time.sleep(0.02)


def call_oned(backend: Backend) -> None:
    Oned(backend, "u:p", Deadline(1)).version()


def call_oneflow(backend: Backend) -> None:
    Oneflow(backend, "u:p", Deadline(1)).delete_service(9)


each_client = pytest.mark.parametrize("call", [call_oned, call_oneflow])


@each_client
@pytest.mark.parametrize("end", [b"A: ", b"\r\n"], ids=["headers", "body"])
def test_a_response_that_comes_byte_by_byte_over_tls_ends_at_the_deadline(
    certificate: Certificate, end: bytes, call: Callable[[Backend], None]
) -> None:
    dripping = Dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n" + end)
    front = TlsFront(f"http://127.0.0.1:{dripping.port}", certificate)
    backend = Backend("oned", front.url, 1, verify=str(certificate[0]))
    with contextlib.closing(front), pytest.raises(BackendTimeout):
        call(backend)
    assert 0 < dripping.drips < ENOUGH_DRIPS / 3


@each_client
def test_a_handshake_that_comes_byte_by_byte_ends_at_the_deadline(
    call: Callable[[Backend], None],
) -> None:
    dripping = Dripping(b"\x16\x03\x03\x3f\xff")
    backend = Backend("oned", f"https://127.0.0.1:{dripping.port}", 1, verify=False)
    with pytest.raises(BackendTimeout):
        call(backend)
    assert 0 < dripping.drips < ENOUGH_DRIPS / 3
