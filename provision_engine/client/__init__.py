"""A client of the engine's API, with requests as its only dependency.

    from provision_engine.client import Client, Function

    client = Client("http://127.0.0.1:1337", "devuser", "devpass")
    runtime = client.create_runtime(Function("nature", cpu=2), lease_seconds=3600)
    runtime = client.wait_until_running(runtime.id)
    print(runtime.faas.endpoint)

Every create carries an Idempotency-Key, so it can be repeated without creating a second runtime.
The client repeats it on its own when the connection breaks or the engine is busy.
"""

from provision_engine.client.client import DEFAULT_URL, Client
from provision_engine.client.errors import (
    BadRequest,
    Busy,
    Changed,
    ClientError,
    Conflict,
    Forbidden,
    Locked,
    NotAnEngine,
    NotFound,
    RuntimeFailed,
    StillWaiting,
    Unauthorized,
    Unprocessable,
    Unreachable,
    Unusable,
)
from provision_engine.client.models import Flavour, Function, Runtime, Step, specification

__all__ = [
    "DEFAULT_URL",
    "BadRequest",
    "Busy",
    "Changed",
    "Client",
    "ClientError",
    "Conflict",
    "Flavour",
    "Forbidden",
    "Function",
    "Locked",
    "NotAnEngine",
    "NotFound",
    "Runtime",
    "RuntimeFailed",
    "Step",
    "StillWaiting",
    "Unauthorized",
    "Unprocessable",
    "Unreachable",
    "Unusable",
    "specification",
]
