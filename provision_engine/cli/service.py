"""start, stop, restart and status of the engine, as an operator calls them."""

from __future__ import annotations

import os

import click

from provision_engine import config, process
from provision_engine.cli.options import common, config_option, configuration
from provision_engine.config import Configuration, ConfigurationError
from provision_engine.errors import OperatorError
from provision_engine.process import Record


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
    print(f"stopped {_described(process.stop(_salvaged()))}")


@click.command()
@config_option
def restart() -> None:
    """Stop the engine if it is running, then start it."""
    settings = configuration()
    process.stop(settings)
    print(f"restarted {_described(Record.from_configuration(settings, process.start(settings)))}")


@click.command()
@config_option
def status() -> None:
    """Show whether the engine is running, and where (exit code 1: not)."""
    print(f"running {_described(process.running(_salvaged()))}")


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


def _described(engine: Record | None) -> str:
    if engine is None:
        raise OperatorError("not running")
    return f"(pid {engine.pid}) on {engine.url}, configuration {engine.configuration}"
