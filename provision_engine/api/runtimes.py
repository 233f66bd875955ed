"""The routes of serverless runtimes: read the request, one call of the engine, render."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, jsonify, request

from provision_engine import log, metrics
from provision_engine.api import context, query, representation, validation
from provision_engine.api.slots import change_slot, wait_slot
from provision_engine.engine.actions import (
    create,
    delete,
    listing,
    read,
    recover,
    suspend,
    timeline,
    update,
)
from provision_engine.engine.actions.pages import Cursor
from provision_engine.engine.actions.wait import (
    IsDone,
    IsRecovered,
    is_resumed,
    is_settled,
    is_suspended,
)
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.plan import Plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.errors import EngineError, NotFound

LARGEST_ID = 2**31 - 1

routes = Blueprint("runtimes", __name__, url_prefix="/serverless-runtimes")


@routes.post("", strict_slashes=False)
def create_runtime() -> Response:
    caller = _received("Create")
    header = request.headers.get("Idempotency-Key")
    version = _check_login(caller, has_key=header is not None)
    key = validation.idempotency_key(header)
    query.check_known(request.args, "wait", "dry_run")
    seconds = query.wait_seconds(request.args)
    specification, ignored = validation.to_create(context.body())
    if query.flag(request.args, "dry_run"):
        return _rehearsed(create.rehearse(caller, specification, version), ignored)
    with wait_slot(caller, seconds > 0):
        created, is_new = create.create_runtime(
            caller,
            specification,
            key,
            version,
            change_slot=lambda: change_slot(caller),
            wait_slot=lambda: wait_slot(caller, not seconds),  # it has one already if it waits
        )
        seen = _waited_after(caller, created, seconds)
    response = _rendered(seen, 201 if is_new else 200)
    if is_new:
        response.call_on_close(lambda: create.replenish_later(caller, specification.flavour_tuple))
    response.headers["Location"] = f"{routes.url_prefix}/{created.id}"
    return _with_warning(response, ignored)


@routes.get("", strict_slashes=False)
def list_runtimes() -> Response:
    caller = _received("List")
    query.check_known(request.args, *query.LIST)
    wanted, cursor = query.filter_of(request.args), query.cursor(request.args)
    page = listing.list_runtimes(caller, wanted, cursor)
    response = jsonify([representation.runtime(snapshot) for snapshot in page.snapshots])
    if page.following is not None:
        response.headers["Link"] = f'<{_next_page(page.following)}>; rel="next"'
    return response


@routes.get("/<runtime_id>", strict_slashes=False)
def get_runtime(runtime_id: str) -> Response:
    caller = _received("Read", runtime_id)
    seconds = query.wait_seconds(request.args)
    seen = read.get_runtime(caller, _number(caller, runtime_id))
    query.check_known(request.args, "wait")
    with wait_slot(caller, seconds > 0 and not seen.is_settled):
        response = _tagged(_waited(caller, seen, seconds))
    response.make_conditional(request)
    return response


@routes.put("/<runtime_id>", strict_slashes=False)
def update_runtime(runtime_id: str) -> Response:
    caller = _received("Update", runtime_id)
    number = _existing(caller, runtime_id)
    query.check_known(request.args, "wait")
    seconds = query.wait_seconds(request.args)
    wanted, ignored = validation.to_update(context.body())
    with wait_slot(caller, seconds > 0):
        with change_slot(caller):
            updated = update.update_runtime(caller, number, wanted, _match())
        return _with_warning(_tagged(_waited_after(caller, updated, seconds)), ignored)


@routes.delete("/<runtime_id>", strict_slashes=False)
def delete_runtime(runtime_id: str) -> Response:
    caller = _received("Delete", runtime_id)
    number = _existing(caller, runtime_id, is_ending=True)
    query.check_known(request.args, "wait")
    seconds = query.wait_seconds(request.args)
    with wait_slot(caller, seconds > 0):
        with change_slot(caller):
            deleted = delete.delete_runtime(caller, number, _match())
        if seconds:
            delete.wait_until_gone(caller, deleted, _at_most(seconds), query.client_watch(request))
    response = Response(status=204)
    del response.headers["Content-Type"]  # of nothing
    return response


@routes.post("/<runtime_id>/recover")
def recover_runtime(runtime_id: str) -> Response:
    caller = _received("Recover", runtime_id)
    number = _existing(caller, runtime_id)
    query.check_known(request.args, "wait", "replace")
    may_replace = query.flag(request.args, "replace")
    return _changed(
        caller,
        lambda: recover.recover_runtime(caller, number, may_replace_data=may_replace),
        IsRecovered(),
    )


@routes.post("/<runtime_id>/suspend")
def suspend_runtime(runtime_id: str) -> Response:
    caller = _received("Suspend", runtime_id)
    number = _existing(caller, runtime_id)
    query.check_known(request.args, "wait")
    return _changed(caller, lambda: suspend.suspend_runtime(caller, number), is_suspended)


@routes.post("/<runtime_id>/resume")
def resume_runtime(runtime_id: str) -> Response:
    caller = _received("Resume", runtime_id)
    number = _existing(caller, runtime_id)
    query.check_known(request.args, "wait")
    return _changed(caller, lambda: suspend.resume_runtime(caller, number), is_resumed)


@routes.get("/<runtime_id>/timeline")
def get_timeline(runtime_id: str) -> Response:
    caller = _received("Read the timeline of", runtime_id)
    steps = timeline.get_timeline(caller, _number(caller, runtime_id))
    query.check_known(request.args)
    return jsonify(representation.timeline(steps))


# ---- the request --------------------------------------------------------------------------------


def _received(action: str, runtime_id: str = "") -> Context:
    """Logs a request and returns its context. Raises Unauthorized."""
    log.engine.info("Received request to %s a Serverless Runtime %s", action, runtime_id[:40])
    return context.of_request()


def _check_login(caller: Context, *, has_key: bool) -> str:
    """Check the login before anything of the body is read, stored or logged. Raises Unauthorized.

    Returns OpenNebula's version, which a create needs anyway. A repeat with a key does not, and is
    to make few calls: for that it is enough that this process has seen the login accepted.
    """
    if not has_key:
        return caller.cloud.oned.version()
    caller.user()
    return ""


def _number(caller: Context, runtime_id: str) -> int:
    """The id in the path. Raises NotFound if it is invalid, or Unauthorized."""
    if runtime_id.isascii() and runtime_id.isdigit() and len(runtime_id) <= 10:
        number = int(runtime_id)
        if number <= LARGEST_ID:
            return number
    caller.cloud.oned.version()
    raise NotFound("There is no such serverless runtime: an id is an integer from 0 to 2147483647")


def _existing(caller: Context, runtime_id: str, *, is_ending: bool = False) -> int:
    """The id of an existing runtime, which is checked before the query and the body."""
    number = _number(caller, runtime_id)
    return read.find_runtime(caller, number, is_ending=is_ending).id


def _match() -> Callable[[Snapshot], bool] | None:
    """The condition that If-Match sets for a runtime; None if there is none."""
    tags = request.if_match
    if not request.headers.get("If-Match") or tags.star_tag:
        return None
    return lambda snapshot: tags.contains(representation.etag(snapshot))


# ---- the response -------------------------------------------------------------------------------


def _changed(
    caller: Context, change: Callable[[], Snapshot], is_done: IsDone = is_settled
) -> Response:
    """Makes a change, and waits for its outcome if the caller requests that."""
    seconds = query.wait_seconds(request.args)
    with wait_slot(caller, seconds > 0):
        with change_slot(caller):
            changed = change()
        return _tagged(_waited_after(caller, changed, seconds, is_done))


def _waited(
    caller: Context, snapshot: Snapshot, seconds: float, is_done: IsDone = is_settled
) -> Snapshot:
    """The runtime after the requested wait."""
    if not seconds or is_done(snapshot):
        return snapshot
    waiting, is_gone = current_app.extensions["waiting"], query.client_watch(request)
    with metrics.waiting():
        seen = waiting.until(is_done, caller, snapshot.id, _at_most(seconds), is_gone)
    return seen or snapshot


def _waited_after(
    caller: Context, snapshot: Snapshot, seconds: float, is_done: IsDone = is_settled
) -> Snapshot:
    """As above, after a change: it is reported as done even if the wait fails."""
    try:
        return _waited(caller, snapshot, seconds, is_done)
    except EngineError as error:
        log.engine.warning("Waiting for runtime %s ended early: %s", snapshot.id, error)
        return snapshot


def _at_most(seconds: float) -> float:
    longest: float = current_app.extensions["configuration"].wait.max_seconds
    return min(seconds, longest)


def _tagged(snapshot: Snapshot) -> Response:
    body = representation.runtime(snapshot)
    response = jsonify(body)
    response.set_etag(representation.etag_of(body[representation.RUNTIME]))
    return response


def _rendered(snapshot: Snapshot, status: int) -> Response:
    response = jsonify(representation.runtime(snapshot))
    response.status_code = status
    return response


def _rehearsed(planned: Plan, ignored: list[str]) -> Response:
    warnings = [{"CODE": "IGNORED", "PATH": path, "TEXT": _warning(path)} for path in ignored]
    return _with_warning(jsonify(representation.plan(planned) | {"WARNINGS": warnings}), ignored)


def _with_warning(response: Response, ignored: list[str]) -> Response:
    """Adds a Warning for each ignored member, up to SHOWN_MEMBERS."""
    for path in ignored[: validation.SHOWN_MEMBERS]:
        response.headers.add("Warning", f'299 - "{_for_header(_warning(path))}"')
    return response


def _for_header(text: str) -> str:
    """Replaces characters that a header cannot contain: clients choose the names of members."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)


def _warning(path: str) -> str:
    return f"{path} is unknown and was ignored"


def _next_page(cursor: Cursor) -> str:
    """The URL of the next page, relative to the server."""
    edge = {"before": cursor.before} if cursor.is_newest_first else {"after": cursor.after}
    other = {n: request.args[n] for n in query.LIST if n in request.args}
    return f"{request.path}?{urlencode(other | edge | {'offset': cursor.offset})}"
