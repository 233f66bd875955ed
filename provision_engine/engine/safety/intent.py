"""Writing an intent: the document that comes before anything is started."""

from __future__ import annotations

from provision_engine import log
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import services
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.time_limits import WITHDRAW_LEAST_SECONDS
from provision_engine.errors import EngineError

RECENT = 100
"""So many of the user's newest documents are searched for an intent whose response was lost."""


def write(context: Context, intent: Runtime) -> Runtime:
    """Write a document; what is started afterwards can always be found from it.

    When this raises, there is no document, as far as that can be told.
    """
    try:
        return context.runtimes.add(intent)
    except services.UNSURE as error:
        if services.is_unsure(error):
            _withdraw(context, intent)
        raise


def _withdraw(context: Context, intent: Runtime) -> None:
    """Delete a document of which nobody knows whether it was written, if that is possible."""
    limited = context.until(context.cloud.deadline.at_least(WITHDRAW_LEAST_SECONDS))
    try:
        for runtime in limited.runtimes.newest(RECENT):
            is_same = (runtime.service_name, runtime.phase) == (intent.service_name, intent.phase)
            if is_same and runtime.created_at == intent.created_at:
                limited.runtimes.remove(runtime.id)
    except EngineError as error:
        log.engine.error("The intent %s may have been written: %s", intent.service_name, error)
