"""engine.conf, read, checked and frozen.

The allowed values and the defaults are in schemas/config.json, a JSON schema that is valid in
draft 4 to 6 and that clients read too.
"""

from provision_engine.config.loading import DEFAULT_PATH as DEFAULT_PATH
from provision_engine.config.loading import ENVIRONMENT_VARIABLE as ENVIRONMENT_VARIABLE
from provision_engine.config.loading import load as load
from provision_engine.config.loading import parse as parse
from provision_engine.config.loading import salvage as salvage
from provision_engine.config.model import Capacity as Capacity
from provision_engine.config.model import Configuration as Configuration
from provision_engine.config.model import Lease as Lease
from provision_engine.config.model import Limits as Limits
from provision_engine.config.model import Log as Log
from provision_engine.config.model import Tls as Tls
from provision_engine.config.schema import SCHEMAS as SCHEMAS
from provision_engine.config.schema import ConfigurationError as ConfigurationError
from provision_engine.config.schema import load_schema as load_schema
from provision_engine.config.schema import schema as schema
