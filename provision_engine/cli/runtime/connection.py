"""The URL of the engine, and the user's credentials."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple

from provision_engine import config
from provision_engine.cli import credentials, record
from provision_engine.cli.launch import REACHED_AT
from provision_engine.client import DEFAULT_URL, Client

URL_VARIABLE = "PROVISION_ENGINE_URL"


class Address(NamedTuple):
    url: str
    source: str
    """Where the URL was given, to show to the user."""


def connect(options: argparse.Namespace) -> Client:
    """A client for the engine and the user that the command line and the environment name."""
    user, password = credentials.stored_or_typed()
    return Client(address(options).url, user, password, verify=options.ca_file or True)


def address(options: argparse.Namespace) -> Address:
    """From --url, --config, the environment or the installed engine.conf, in this order."""
    if options.url:
        return Address(options.url, "--url")
    if options.config:
        return _configured(options.config.absolute())
    if named := os.environ.get(URL_VARIABLE):
        return Address(named, URL_VARIABLE)
    path = Path(os.environ.get(config.ENVIRONMENT_VARIABLE) or config.DEFAULT_PATH)
    if os.access(path, os.R_OK):
        return _configured(path.absolute())
    return Address(DEFAULT_URL, "the default")


def _configured(path: Path) -> Address:
    """The URL of an engine with this configuration, from its own host."""
    settings = config.load(path)
    host = REACHED_AT.get(settings.host, settings.host)
    return Address(record.url(settings, host), str(path))
