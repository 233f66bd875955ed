"""The URL of the engine, a client for it, and what it offers to complete a command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click

from provision_engine import config
from provision_engine.cli import credentials
from provision_engine.cli.options import common
from provision_engine.client import DEFAULT_URL, Client, ClientError
from provision_engine.errors import OperatorError

URL_VARIABLE = "PROVISION_ENGINE_URL"
COMPLETION_SECONDS = 3.0
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that means every interface cannot be connected to."""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


class Address(NamedTuple):
    url: str
    source: str
    """Where the URL was given, to show to the user."""


def connect(login: credentials.Login, **settings: Any) -> Client:
    """A client for the engine that the command line or the environment names."""
    return Client(address().url, *login, verify=common().ca_file or True, **settings)


def address() -> Address:
    """From --url, --config, the environment or the installed engine.conf, in this order."""
    given = common()
    if given.url:
        return Address(given.url, "--url")
    if given.config:
        return _configured(given.config.absolute())
    if named := os.environ.get(URL_VARIABLE):
        return Address(named, URL_VARIABLE)
    path = Path(os.environ.get(config.ENVIRONMENT_VARIABLE) or config.DEFAULT_PATH)
    if os.access(path, os.R_OK):
        return _configured(path.absolute())
    return Address(DEFAULT_URL, "the default")


def _configured(path: Path) -> Address:
    """The URL of an engine with this configuration, from its own host."""
    settings = config.load(path)
    return Address(settings.url(REACHED_AT.get(settings.host, "")), str(path))


def _completion(find: Callable[[Client], Iterable[str]]) -> Completion:
    """A completion that asks the engine; nothing is offered if that or the login fails."""

    def complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        with contextlib.suppress(ClientError, OperatorError), context:
            api = connect(credentials.stored(), tries=1, timeout_seconds=COMPLETION_SECONDS)
            return [text for text in find(api) if text.startswith(begun)]
        return []

    return complete


complete_ids = _completion(lambda api: (str(runtime.id) for runtime in api.list_runtimes()))
complete_flavours = _completion(
    lambda api: (flavour.name for flavour in api.flavours() if flavour.is_deployable)
)
