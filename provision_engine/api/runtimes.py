"""The routes of serverless runtimes: read the request, one call of the engine, render."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request

from provision_engine import log, metrics
from provision_engine.api import caller, query, validation
from provision_engine.api.admission import a_change
from provision_engine.engine import timeline, view
from provision_engine.engine.runtimes import Runtimes
from provision_engine.engine.waiting import Waiting
from provision_engine.errors import EngineError, NotFound

Json = dict[str, Any]

LARGEST_ID = 2**31 - 1

routes = Blueprint("runtimes", __name__, url_prefix="/serverless-runtimes")


@routes.post("")
def create_runtime() -> Response:
    runtimes = _of_caller("Create")
    seconds = query.wait_seconds(request.args)
    key = validation.idempotency_key(request.headers.get("Idempotency-Key"))
    specification = validation.to_create(caller.body())
    if query.flag(request.args, "dry_run"):
        return jsonify(runtimes.dry_run(specification))
    with _place(seconds):
        with a_change():
            runtime, is_new = runtimes.create_runtime(specification, key)
        seen = _waited_after(runtimes, runtime, seconds)
    response = _rendered(seen, 201 if is_new else 200)
    response.headers["Location"] = f"{routes.url_prefix}/{runtime['ID']}"
    return response


@routes.get("")
def list_runtimes() -> Response:
    runtimes = _of_caller("List")
    wanted = query.wanted(request.args)
    page, after = runtimes.list_runtimes(wanted)
    response = jsonify([{validation.RUNTIME: runtime} for runtime in page])
    if after is not None:
        response.headers["Link"] = f'<{query.next_page(request, after)}>; rel="next"'
    return response


@routes.get("/<runtime_id>")
def get_runtime(runtime_id: str) -> Response:
    runtimes = _of_caller("Read", runtime_id)
    seconds = query.wait_seconds(request.args)
    runtime = runtimes.get_runtime(_number(runtimes, runtime_id))
    with _place(0 if view.is_settled(runtime) else seconds):
        response = _tagged(_waited(runtimes, runtime, seconds))
    response.make_conditional(request)
    return response


@routes.put("/<runtime_id>")
def update_runtime(runtime_id: str) -> Response:
    runtimes = _of_caller("Update", runtime_id)
    runtime = runtimes.find_runtime(_number(runtimes, runtime_id))
    seconds = query.wait_seconds(request.args)
    wanted = validation.to_update(caller.body())
    with _place(seconds):
        with a_change():
            updated = runtimes.update_runtime(runtime, wanted, request.headers.get("If-Match", ""))
        return _tagged(_waited_after(runtimes, updated, seconds))


@routes.delete("/<runtime_id>")
def delete_runtime(runtime_id: str) -> Response:
    runtimes = _of_caller("Delete", runtime_id)
    runtime = runtimes.find_runtime(_number(runtimes, runtime_id))
    with a_change():
        runtimes.delete_runtime(runtime, request.headers.get("If-Match", ""))
    response = Response(status=204)
    del response.headers["Content-Type"]  # of nothing
    return response


@routes.post("/<runtime_id>/recover")
def recover_runtime(runtime_id: str) -> Response:
    runtimes = _of_caller("Recover", runtime_id)
    runtime = runtimes.find_runtime(_number(runtimes, runtime_id))
    seconds = query.wait_seconds(request.args)
    with _place(seconds):
        with a_change():
            recovered = runtimes.recover_runtime(runtime)
        return _tagged(_waited_after(runtimes, recovered, seconds))


@routes.get("/<runtime_id>/timeline")
def get_timeline(runtime_id: str) -> Response:
    runtimes = _of_caller("Tell the timeline of", runtime_id)
    runtime = runtimes.find_runtime(_number(runtimes, runtime_id))
    return jsonify({"STEPS": timeline.of(caller.cloud(), runtime)})


def _of_caller(what: str, runtime_id: str = "") -> Runtimes:
    """The runtimes of the user in the request. Raises Unauthorized."""
    log.engine.info("Received request to %s a Serverless Runtime %s", what, runtime_id)
    cloud, shared = caller.cloud(), current_app.extensions
    return Runtimes(cloud, shared["configuration"], shared["cache"])


def _number(runtimes: Runtimes, runtime_id: str) -> int:
    """The id in the path. Raises NotFound where it cannot be one, for callers who may ask."""
    if runtime_id.isascii() and runtime_id.isdigit() and len(runtime_id) <= 10:
        number = int(runtime_id)
        if number <= LARGEST_ID:
            return number
    runtimes.check_login()
    raise NotFound("There is no such serverless runtime: the id is no number up to 2^31 - 1")


def _place(seconds: float) -> AbstractContextManager[None]:
    """A place among those who wait, if the caller wants to. Raises TooManyRequests."""
    waiting: Waiting = current_app.extensions["waiting"]
    return waiting.place() if seconds else nullcontext()


def _waited(runtimes: Runtimes, runtime: Json, seconds: float) -> Json:
    """The runtime after the wait that the caller asked for, or as it is."""
    if not seconds or view.is_settled(runtime):
        return runtime
    shared = current_app.extensions
    seconds = min(seconds, shared["configuration"].wait.max_seconds)
    is_gone = query.client_watch(request)
    with metrics.waiting():
        return (
            runtimes.wait_for_runtime(runtime["ID"], shared["waiting"], seconds, is_gone) or runtime
        )


def _waited_after(runtimes: Runtimes, runtime: Json, seconds: float) -> Json:
    """As above after a change, which is done and told as such whatever becomes of the wait."""
    try:
        return _waited(runtimes, runtime, seconds)
    except EngineError as error:
        log.engine.warning("Waiting for runtime %s ended early: %s", runtime["ID"], error)
        return runtime


def _tagged(runtime: Json) -> Response:
    response = _rendered(runtime, 200)
    response.set_etag(view.etag(runtime))
    return response


def _rendered(runtime: Json, status: int) -> Response:
    response = jsonify({validation.RUNTIME: runtime})
    response.status_code = status
    return response
