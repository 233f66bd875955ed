"""A client of the engine's API, with requests as its only dependency.

    from provision_engine.client import Client, Function

    client = Client("http://127.0.0.1:1337", "devuser", "devpass")
    runtime = client.create_runtime(Function("nature", cpu=2), lease_seconds=3600)
    runtime = client.wait_until_running(runtime.id)
    print(runtime.faas.endpoint)

Every create carries an Idempotency-Key, so it can be repeated without creating a second runtime.
The client repeats it on its own when the connection breaks or the engine is busy.
"""

from provision_engine.client.client import Client as Client
from provision_engine.client.errors import BadRequest as BadRequest
from provision_engine.client.errors import Busy as Busy
from provision_engine.client.errors import Changed as Changed
from provision_engine.client.errors import ClientError as ClientError
from provision_engine.client.errors import Conflict as Conflict
from provision_engine.client.errors import Forbidden as Forbidden
from provision_engine.client.errors import Locked as Locked
from provision_engine.client.errors import NotAnEngine as NotAnEngine
from provision_engine.client.errors import NotFound as NotFound
from provision_engine.client.errors import RuntimeFailed as RuntimeFailed
from provision_engine.client.errors import StillWaiting as StillWaiting
from provision_engine.client.errors import Unauthorized as Unauthorized
from provision_engine.client.errors import Unprocessable as Unprocessable
from provision_engine.client.errors import Unreachable as Unreachable
from provision_engine.client.errors import Unusable as Unusable
from provision_engine.client.models import Flavour as Flavour
from provision_engine.client.models import Function as Function
from provision_engine.client.models import Quota as Quota
from provision_engine.client.models import Runtime as Runtime
from provision_engine.client.models import Step as Step
from provision_engine.client.models import specification as specification
from provision_engine.client.transport import DEFAULT_URL as DEFAULT_URL
