"""Serverless runtimes, flavours and the quota: read the request, one call of the engine, render."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

from flask import Response, current_app, jsonify, request

from provision_engine import log, metrics
from provision_engine.api import incoming, representation, validation
from provision_engine.api.slots import change_slot, wait_slot
from provision_engine.engine import preflight, quota
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
from provision_engine.engine.actions.listing import Cursor
from provision_engine.engine.actions.wait import (
    IsDone,
    IsRecovered,
    is_resumed,
    is_suspended,
    wait_until,
)
from provision_engine.engine.context import Context, for_user
from provision_engine.engine.runtime.snapshot import Precondition, Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.standby.stock import replenish_later
from provision_engine.errors import EngineError, NoFlowTemplate, NotFound, UnknownFlavours

RUNTIMES = "/serverless-runtimes"
LARGEST_ID = 2**31 - 1


def create_runtime() -> Response:
    caller = _received("Create a Serverless Runtime")
    header = request.headers.get("Idempotency-Key")
    # The login is checked before anything of the body is read, stored or logged.
    version = ""
    if header is None:
        version = caller.check_login()  # a create needs the version anyway
    else:
        caller.user()  # a repeat does not, and is to make few calls: one login accepted is enough
    key, seconds = validation.idempotency_key(header), _wait_seconds("dry_run")
    specification, ignored = validation.to_create(incoming.body())
    try:
        if incoming.flag("dry_run"):
            planned = create.rehearse(caller, specification, version)
            response = jsonify(representation.plan(planned, ignored))
        else:
            response = _created(caller, specification, key, version, seconds)
    except UnknownFlavours as error:
        sent = validation.sent_functions(incoming.body(), error.message)
        raise NoFlowTemplate(sent) from error
    return _with_warnings(response, ignored)


def list_runtimes() -> Response:
    caller = _received("List a Serverless Runtime")
    incoming.check_known(*incoming.LIST)
    wanted, cursor = incoming.list_filter(), incoming.cursor()
    page = listing.list_runtimes(caller, wanted, cursor)
    told = [representation.runtime(s, with_owner=cursor.is_of_all_users) for s in page.snapshots]
    response = jsonify(told)
    if page.following is not None:
        response.headers["Link"] = f'<{_next_page(page.following)}>; rel="next"'
    return response


def get_runtime(runtime_id: str) -> Response:
    caller = _received("Read a Serverless Runtime", runtime_id)
    seconds = incoming.wait_seconds()
    snapshot = read.get_runtime(caller, _number(caller, runtime_id))
    incoming.check_known("wait")
    with wait_slot(caller, seconds > 0 and not snapshot.is_settled()):
        response = _tagged(_waited(caller, snapshot, seconds))
    response.make_conditional(request)
    return response


def update_runtime(runtime_id: str) -> Response:
    caller, number, seconds = _received_for("Update", runtime_id)
    changes, ignored = validation.to_update(incoming.body())
    response = _change(
        caller, seconds, lambda: update.update_runtime(caller, number, changes, _precondition())
    )
    return _with_warnings(response, ignored)


def delete_runtime(runtime_id: str) -> Response:
    caller, number, seconds = _received_for("Delete", runtime_id, is_ending=True)
    with wait_slot(caller, seconds > 0):
        with change_slot(caller):
            deleted = delete.delete_runtime(caller, number, _precondition())
        if seconds:
            delete.wait_until_gone(caller, deleted, seconds, incoming.client_watch())
    response = Response(status=204)
    del response.headers["Content-Type"]  # of nothing
    return response


def recover_runtime(runtime_id: str) -> Response:
    caller, number, seconds = _received_for("Recover", runtime_id, "replace")
    may_replace = incoming.flag("replace")
    return _change(
        caller,
        seconds,
        lambda: recover.recover_runtime(caller, number, may_replace_data=may_replace),
        IsRecovered(),
    )


def suspend_runtime(runtime_id: str) -> Response:
    caller, number, seconds = _received_for("Suspend", runtime_id)
    return _change(caller, seconds, lambda: suspend.suspend_runtime(caller, number), is_suspended)


def resume_runtime(runtime_id: str) -> Response:
    caller, number, seconds = _received_for("Resume", runtime_id)
    return _change(caller, seconds, lambda: suspend.resume_runtime(caller, number), is_resumed)


def get_timeline(runtime_id: str) -> Response:
    caller = _received("Read the timeline of a Serverless Runtime", runtime_id)
    steps = timeline.get_timeline(caller, _number(caller, runtime_id))
    incoming.check_known()
    return jsonify(representation.timeline(steps))


def list_flavours() -> Response:
    caller = _received("List flavours")
    incoming.check_known()
    return jsonify([representation.preflight(one) for one in preflight.list_flavours(caller)])


def get_quota() -> Response:
    caller = _received("Read the quota")
    incoming.check_known()
    return jsonify(representation.quota(quota.get_quota(caller)))


# ---- the request --------------------------------------------------------------------------------


def _received(action: str, runtime_id: str = "") -> Context:
    """Log a request and return its context. Raises Unauthorized."""
    shared = current_app.extensions
    own = (shared["backends"], shared["configuration"], shared["memory"])
    try:
        user, password = incoming.credentials(request.headers.get("Authorization"))
        caller = for_user(user, password, *own)
        log.label("user", user)
    finally:
        if runtime_id:
            log.label("runtime", runtime_id.lstrip("0") or "0")
        received = f"{action} {runtime_id[:40]}".rstrip()
        log.engine.info("Received request to %s%s", received, log.labelled())
    return caller


def _received_for(
    action: str, runtime_id: str, *known: str, is_ending: bool = False
) -> tuple[Context, int, float]:
    """Do the same for a change of a runtime, and return its id, and how long the request waits.

    It has to exist before its query and its body are checked; ``known`` are its parameters.
    """
    caller = _received(f"{action} a Serverless Runtime", runtime_id)
    number = read.find_runtime(caller, _number(caller, runtime_id), is_ending=is_ending).id
    return caller, number, _wait_seconds(*known)


def _number(caller: Context, runtime_id: str) -> int:
    """Return the id in the path. Raises NotFound if it is invalid, or Unauthorized."""
    if runtime_id.isascii() and runtime_id.isdigit() and len(runtime_id) <= 10:
        number = int(runtime_id)
        if number <= LARGEST_ID:
            return number
    caller.check_login()
    raise NotFound("There is no such serverless runtime: an id is an integer from 0 to 2147483647")


def _wait_seconds(*also_known: str) -> float:
    """Return how long the request waits; no other parameters are known. Raises BadRequest."""
    incoming.check_known("wait", *also_known)
    return incoming.wait_seconds()


def _precondition() -> Precondition | None:
    """Return the condition that If-Match sets for a runtime; None if there is none."""
    tags = request.if_match
    if not request.headers.get("If-Match") or tags.star_tag:
        return None
    return lambda snapshot: tags.contains(representation.etag(representation.runtime(snapshot)))


# ---- the response -------------------------------------------------------------------------------


def _created(
    caller: Context, specification: Specification, key: str, version: str, seconds: float
) -> Response:
    with wait_slot(caller, seconds > 0):
        created, is_new = create.create_runtime(
            caller,
            specification,
            key,
            version,
            change_slot=lambda: change_slot(caller),
            wait_slot=lambda: wait_slot(caller, not seconds),  # it has one already if it waits
        )
        log.label("runtime", created.id)
        outcome = "Created" if is_new else "The key has already created"
        told = (outcome, created.id, created.runtime.flavour_tuple, created.runtime.name)
        log.engine.info("%s runtime %s: flavour %s, name %s", *told)
        snapshot = _waited_after(caller, created, seconds)
    response = jsonify(representation.runtime(snapshot))
    response.headers["Location"] = f"{RUNTIMES}/{created.id}"
    if is_new:
        response.status_code = 201
        response.call_on_close(lambda: replenish_later(caller, specification.flavour_tuple))
    return response


def _change(
    caller: Context,
    seconds: float,
    change: Callable[[], Snapshot],
    is_done: IsDone = Snapshot.is_settled,
) -> Response:
    """Make a change, and wait for its outcome if the caller requests that."""
    with wait_slot(caller, seconds > 0):
        with change_slot(caller):
            snapshot = change()
        return _tagged(_waited_after(caller, snapshot, seconds, is_done))


def _waited(
    caller: Context, snapshot: Snapshot, seconds: float, is_done: IsDone = Snapshot.is_settled
) -> Snapshot:
    """Return the runtime after the requested wait."""
    if not seconds or is_done(snapshot):
        return snapshot
    is_gone = incoming.client_watch()
    with metrics.waiting.track_inprogress():
        return wait_until(is_done, caller, snapshot.id, seconds, is_gone)


def _waited_after(
    caller: Context, snapshot: Snapshot, seconds: float, is_done: IsDone = Snapshot.is_settled
) -> Snapshot:
    """Do the same after a change, which is reported as done even if the wait fails."""
    try:
        return _waited(caller, snapshot, seconds, is_done)
    except EngineError as error:
        log.engine.warning("Waiting for runtime %s ended early: %s", snapshot.id, error)
        return snapshot


def _tagged(snapshot: Snapshot) -> Response:
    body = representation.runtime(snapshot)
    response = jsonify(body)
    response.set_etag(representation.etag(body))
    return response


def _with_warnings(response: Response, ignored: list[str]) -> Response:
    """Add a Warning for each ignored member, up to SHOWN_MEMBERS."""
    for path in ignored[: validation.SHOWN_MEMBERS]:
        # Clients choose the names of members: a header cannot contain all characters.
        text = re.sub(r"[^ !#-\[\]-~]", "?", representation.warning(path))
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def _next_page(cursor: Cursor) -> str:
    """Return the URL of the next page, relative to the server."""
    edge = {"before": cursor.before} if cursor.is_newest_first else {"after": cursor.after}
    other = {n: request.args[n] for n in incoming.LIST if n in request.args}
    return f"{request.path}?{urlencode(other | edge | {'offset': cursor.offset})}"
