"""start, stop, restart and status of the engine, as an operator calls them."""

from __future__ import annotations

import json
import os
import ssl
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import click

from provision_engine import config, process
from provision_engine.cli import show
from provision_engine.cli.options import common, config_option, configuration
from provision_engine.config import Configuration, ConfigurationError
from provision_engine.errors import OperatorError
from provision_engine.process import Record
from provision_engine.text import one_line

HEALTH_SECONDS = 10.0
"""The engine itself asks OpenNebula for at most four."""
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@click.command()
@config_option
@click.option("--foreground", is_flag=True, help="Serve in this process, for service managers.")
def start(foreground: bool) -> None:
    """Start the engine, and return once it responds."""
    settings = configuration()
    if foreground:
        # Only the process that serves needs gunicorn and the engine itself.
        from provision_engine import server

        where = f"{settings.url()} (pid {os.getpid()})"
        server.serve(settings, on_ready=lambda: print(f"serving on {where}", flush=True))
    else:
        print(f"started (pid {process.start(settings)}) on {settings.url()}")


@click.command()
@config_option
def stop() -> None:
    """Stop the engine once the requests in flight are finished."""
    print(f"stopped {_described(process.stop(_salvaged(), _waiting))}")


@click.command()
@config_option
def restart() -> None:
    """Stop the engine if it is running, then start it."""
    settings = configuration()
    process.stop(settings, _waiting)
    print(f"restarted {_described(Record.from_configuration(settings, process.start(settings)))}")


@click.command()
@config_option
def status() -> None:
    """Show whether the engine is running (exit code 1: not), where, its version and its health."""
    engine = process.running(_salvaged())
    print(f"running {_described(engine)}")
    assert engine is not None
    since = f", up {show.duration(time.time() - engine.started_at)}" if engine.started_at else ""
    print(f"version {engine.version or 'unknown'}{since}; {_health(engine.url)}")


def _salvaged() -> Configuration:
    """Return the configuration, or, with a warning, what of it leads to the running engine."""
    try:
        return configuration()
    except ConfigurationError as error:
        found = config.salvage(common().config)
        for line in error.args:
            click.echo(f"provision-engine: warning: {line}", err=True)
        pid_file = found.server.pid_file
        click.echo(f"provision-engine: warning: going by the pid file {pid_file}", err=True)
        return found


def _waiting(engine: Record, seconds: int) -> None:
    text = f"waiting until pid {engine.pid} has finished its requests, {seconds} seconds at most"
    click.echo(f"{text} (server.grace_seconds + {process.STOP_SECONDS:.0f})", err=True)


def _health(url: str) -> str:
    """Return whether the engine and its OpenNebula respond, as the engine itself says."""
    parts = urlsplit(url)
    host = EVERY_ADDRESS.get(parts.hostname or "", parts.hostname or "")
    connection = HTTPConnection(host, parts.port, timeout=HEALTH_SECONDS)
    if parts.scheme == "https":
        # Its certificate may be for another name. No password is sent.
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, parts.port, timeout=HEALTH_SECONDS, context=tls)
    try:
        with closing(connection):
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            reasons = show.details(json.loads(response.read()).get("message"))
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        return one_line(f"the engine does not respond: {error}")
    return (
        f"OpenNebula does not respond: {'; '.join(reasons)}" if reasons else "OpenNebula responds"
    )


def _described(engine: Record | None) -> str:
    if engine is None:
        raise OperatorError("not running")
    return f"(pid {engine.pid}) on {engine.url}, configuration {engine.configuration}"
