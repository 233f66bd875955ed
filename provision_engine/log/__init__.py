"""The engine's logs: three components, each in a file or under its own name in syslog.

Callers write to `engine`, `cloud` and `access`, ordinary loggers of the standard library.
Whatever a text contains, one event is one line, without any secret of the request.
"""

from provision_engine.log.components import access as access
from provision_engine.log.components import answered as answered
from provision_engine.log.components import cloud as cloud
from provision_engine.log.components import engine as engine
from provision_engine.log.components import start as start
from provision_engine.log.components import stop as stop
from provision_engine.log.context import request as request
from provision_engine.log.context import request_id as request_id
from provision_engine.log.context import secret as secret
from provision_engine.log.context import secrets as secrets
from provision_engine.log.handlers import LogError as LogError
from provision_engine.log.redaction import one_line as one_line
from provision_engine.log.redaction import redact as redact
