"""The command line, with a small application instead of the engine's.

So that what happens around an application can be tried: slow answers, bodies, failures.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from provision_engine import cli, server
from provision_engine.config import Configuration


def create_app(configuration: Configuration) -> Any:
    if os.environ.get("STUB_FAILS"):
        raise RuntimeError(os.environ["STUB_FAILS"])

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/slow/"):
            Path(os.environ["STUB_IN_FLIGHT"]).touch()
            time.sleep(float(path.rpartition("/")[2]))
        if path == "/crash":
            raise RuntimeError("crashed with secret")
        text = f"{os.getpid()} {configuration.timeout_seconds}"
        if path == "/body":
            text = str(len(environ["wsgi.input"].read()))
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text.encode()]

    return application


server.HEAD_SECONDS = int(os.environ.get("STUB_HEAD_SECONDS", server.HEAD_SECONDS))
server.BODY_SECONDS = int(os.environ.get("STUB_BODY_SECONDS", server.BODY_SECONDS))
server.APPLICATION = "engine_with_stub:create_app"

if __name__ == "__main__":
    sys.modules["engine_with_stub"] = sys.modules["__main__"]
    sys.exit(cli.main())
