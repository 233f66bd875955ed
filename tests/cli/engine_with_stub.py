"""The command line, with a small application instead of the engine's.

It tests what surrounds an application: responses that take long, bodies, failures.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from provision_engine import cli
from provision_engine.config import Configuration
from provision_engine.server import arrival, listener, serving


def create_app(configuration: Configuration) -> Any:
    if os.environ.get("STUB_FAILS"):
        raise RuntimeError(os.environ["STUB_FAILS"])

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/slow/"):
            time.sleep(float(path.rpartition("/")[2]))
        if path == "/held":
            in_flight = Path(os.environ["STUB_IN_FLIGHT"])
            in_flight.touch()
            while in_flight.exists():
                time.sleep(0.01)
        if path == "/crash":
            raise RuntimeError("crashed with secret")
        text = f"{os.getpid()} {configuration.timeout_seconds}"
        if path == "/readyz":
            text = os.environ.get("STUB_READINESS", '{"status": "ready"}')
        if path == "/large":
            text = "x" * 50_000_000
        if path == "/body":
            text = str(len(environ["wsgi.input"].read()))
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text.encode()]

    return application


arrival.HEAD_SECONDS = float(os.environ.get("STUB_HEAD_SECONDS", arrival.HEAD_SECONDS))
arrival.BODY_SECONDS = float(os.environ.get("STUB_BODY_SECONDS", arrival.BODY_SECONDS))
listener.SEND_SECONDS = int(os.environ.get("STUB_SEND_SECONDS", listener.SEND_SECONDS))
serving.APPLICATION = "engine_with_stub:create_app"

if __name__ == "__main__":
    sys.modules["engine_with_stub"] = sys.modules["__main__"]
    sys.exit(cli.main())
