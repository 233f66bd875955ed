"""The engine's logs: three components, each in a file or under its own name in syslog.

Callers write to `engine`, `cloud` and `access`, ordinary loggers of the standard library.
Whatever a text contains, one event is one line, without any secret of the request.
"""

from __future__ import annotations

import logging

from provision_engine.config import Log
from provision_engine.log.handlers import new_handler
from provision_engine.log.redaction import label as label
from provision_engine.log.redaction import label_text as label_text
from provision_engine.log.redaction import labelled as labelled
from provision_engine.log.redaction import labels as labels
from provision_engine.log.redaction import one_line as one_line
from provision_engine.log.redaction import redact as redact
from provision_engine.log.redaction import request as request
from provision_engine.log.redaction import request_id as request_id
from provision_engine.log.redaction import secret as secret
from provision_engine.log.redaction import secrets as secrets

engine = logging.getLogger("provision_engine.engine")
cloud = logging.getLogger("provision_engine.CloudClient")
access = logging.getLogger("provision_engine.api")

_COMPONENTS = {"engine": engine, "CloudClient": cloud, "api": access}
# Without one, Python would write warnings to stderr as they are, before a log is started.
logging.getLogger("provision_engine").addHandler(logging.NullHandler())
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def start(configuration: Log) -> None:
    """Send the three components where the configuration says, from now on.

    May be called again, for another configuration. Raises OperatorError when the directory cannot
    be written or there is no syslog.
    """
    handlers = {name: new_handler(name, configuration) for name in _COMPONENTS}
    stop()
    for name, logger in _COMPONENTS.items():
        logger.addHandler(handlers[name])
        logger.setLevel(_LEVELS[configuration.level])
    # The access log is written at every level.
    access.setLevel(logging.INFO)


def stop() -> None:
    """Close the logs; later lines are dropped."""
    for logger in _COMPONENTS.values():
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def answered(
    address: str,
    call: str,
    status: int | str,
    response_bytes: int | str,
    seconds: float,
    identifier: str = "",
) -> None:
    """Write one line of the access log; `call` is method, path and protocol.

    The request's id is written in the forms extended and json.
    """
    quoted = call.replace('"', "%22")
    fields = (address, quoted, status, response_bytes, seconds)
    access.info('%s "%s" %s %s %.4f', *fields, extra={"identifier": identifier})
