"""The operations of the Python client: what they send, and what they read."""

from __future__ import annotations

import ast
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from responses import matchers

from provision_engine import client as module
from provision_engine.client import Client, Function, Quota, Runtime, specification
from provision_engine.client import client as operations

from .samples import BODY, RUNTIMES, URL, error, response


def test_all_members_of_a_runtime_are_read() -> None:
    runtime = Runtime.from_json(BODY, '"tag"')
    assert (runtime.id, runtime.name, runtime.service_id) == (851, "lamp", 850)
    assert runtime.faas == Function(
        "nature", 2, 512, 1025, 7, "RUNNING", "10.0.0.7", "", datetime(2026, 11, 24, 3, tzinfo=UTC)
    )
    assert (runtime.daas, runtime.state, runtime.reason) == (None, "RUNNING", "")
    assert (runtime.faas.reason_code, runtime.created) == ("", datetime(2026, 11, 23, tzinfo=UTC))
    assert (runtime.lease_seconds, runtime.expires) == (60, datetime(2026, 11, 24, 4, tzinfo=UTC))
    assert (runtime.etag, runtime.body) == ('"tag"', BODY)


@pytest.mark.parametrize(
    ("faas", "daas", "whole"),
    [
        ("RUNNING", "RUNNING", "RUNNING"),
        ("PENDING", "RUNNING", "PENDING"),
        ("RUNNING", "UPDATING", "UPDATING"),
        ("PENDING", "ERROR", "ERROR"),
    ],
)
def test_the_state_of_a_runtime_is_the_worst_of_its_functions(
    faas: str, daas: str, whole: str
) -> None:
    functions = {"FAAS": {"STATE": faas, "REASON_CODE": "WAITING"}, "DAAS": {"STATE": daas}}
    runtime = Runtime.from_json({"ID": 1, **functions})
    assert (runtime.state, runtime.faas.reason_code) == (whole, "WAITING")


def test_only_given_members_are_sent() -> None:
    assert specification(faas=Function("nature")) == {
        "SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "nature"}}
    }
    full = specification(
        faas=Function("nature", cpu=1),
        daas=Function("s3", disk_size_mb=9),
        name="n",
        policy="p",
        requirements="r",
        device_info={"X": 1},
        lease_seconds=60,
    )["SERVERLESS_RUNTIME"]
    assert full == {
        "NAME": "n",
        "FAAS": {"FLAVOUR": "nature", "CPU": 1},
        "DAAS": {"FLAVOUR": "s3", "DISK_SIZE": 9},
        "SCHEDULING": {"POLICY": "p", "REQUIREMENTS": "r"},
        "DEVICE_INFO": {"X": 1},
        "LEASE": {"TTL": 60},
    }


def test_a_read_sends_user_password_and_how_long_it_waits(
    client: Client, api: responses.RequestsMock
) -> None:
    waits = matchers.query_param_matcher({"wait": "30"})
    api.get(f"{RUNTIMES}/851", json=response(), headers={"ETag": '"tag"'}, match=[waits])
    assert client.get_runtime(851, wait_seconds=30).etag == '"tag"'
    sent = api.calls[0].request
    encoded = requests.auth._basic_auth_str(b"devuser", "pass:wörd".encode())
    assert sent.headers["Authorization"] == encoded
    assert sent.req_kwargs["timeout"] == (5.0, 120.0)


# ---- pages, and waiting ----------------------------------------------------------------------


def test_a_list_follows_its_pages(client: Client, api: responses.RequestsMock) -> None:
    query = {"name": "lamp", "limit": "2", "order": "desc"}
    first = matchers.query_param_matcher(query)
    second = matchers.query_param_matcher(query | {"before": "2", "offset": "0"})
    link = '</serverless-runtimes?name=lamp&limit=2&order=desc&before=2&offset=0>; rel="next"'
    pages = [[response({**BODY, "ID": n}) for n in ids] for ids in ((1, 2), (3,))]
    api.get(RUNTIMES, json=pages[0], match=[first], headers={"Link": link})
    api.get(RUNTIMES, json=pages[1], match=[second])
    found = client.list_runtimes(name="lamp", page_size=2, newest_first=True)
    assert [runtime.id for runtime in found] == [1, 2, 3]


def test_a_page_elsewhere_is_not_followed_with_the_password(
    client: Client, api: responses.RequestsMock
) -> None:
    plain = matchers.query_param_matcher({"order": "asc", "limit": "100"})
    link = '<http://elsewhere.test/x>; rel="next"'
    api.get(RUNTIMES, json=[], match=[plain], headers={"Link": link})
    api.get(f"{URL}/x", json=[])
    assert list(client.list_runtimes()) == []
    assert all(str(call.request.url).startswith(URL) for call in api.calls)


@pytest.mark.parametrize("states", [("PENDING", "RUNNING"), ("RUNNING", "UPDATING", "SUSPENDED")])
def test_it_waits_until_all_functions_are_in_a_state(
    client: Client, api: responses.RequestsMock, states: tuple[str, ...]
) -> None:
    for state in states:
        api.get(f"{RUNTIMES}/851", json=response(STATE=state))
    found: list[str] = []
    client.wait_for_state(851, states[-1], 100, lambda runtime: found.append(runtime.state))
    assert found == list(states)
    waits = [call.request.params["wait"] for call in api.calls]
    assert all(0 < float(wait) <= operations.LONGEST_WAIT_SECONDS for wait in waits)


def test_a_runtime_that_fails_ends_the_wait(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", json=response(STATE="ERROR", REASON="VM was powered off"))
    with pytest.raises(module.RuntimeFailed, match="FAAS: VM was powered off") as raised:
        client.wait_until_running(851)
    assert raised.value.runtime.id == 851


def test_a_wait_without_time_is_one_read(client: Client, api: responses.RequestsMock) -> None:
    api.get(f"{RUNTIMES}/851", json=response(STATE="PENDING", REASON="VM waits for a host"))
    with pytest.raises(module.StillWaiting, match="waits for a host"):
        client.wait_until_running(851, 0)
    assert len(api.calls) == 1


def test_polling_pauses_if_the_engine_does_not_hold_its_response(
    client: Client, api: responses.RequestsMock, pauses: list[float]
) -> None:
    for state in ("PENDING", "PENDING", "RUNNING"):
        api.get(f"{RUNTIMES}/851", json=response(STATE=state))
    client.wait_until_running(851)
    assert len(pauses) == 2
    assert min(pauses) > 0


def test_it_imports_nothing_of_the_engine_but_the_version() -> None:
    imported = set()
    for path in Path(module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in imported if name.startswith("provision_engine")}
    assert {name for name in ours if not name.startswith("provision_engine.client")} == {
        "provision_engine.__version__"
    }


# ---- suspend, resume, recover; flavours, timelines, warnings ---------------------------------


@pytest.mark.parametrize(
    ("action", "options", "query"),
    [
        ("suspend", {"wait_seconds": 9}, {"wait": "9"}),
        ("resume", {"wait_seconds": 9}, {"wait": "9"}),
        ("recover", {"wait_seconds": 9}, {"wait": "9"}),
        ("recover", {"replace": False}, {}),
        ("recover", {"replace": True}, {"replace": "true"}),
    ],
)
def test_an_action_is_a_post_with_its_options(
    client: Client,
    api: responses.RequestsMock,
    action: str,
    options: dict[str, Any],
    query: dict[str, str],
) -> None:
    matching = [matchers.query_param_matcher(query)]
    api.post(f"{RUNTIMES}/851/{action}", json=response(STATE="SUSPENDED"), match=matching)
    runtime = getattr(client, f"{action}_runtime")(851, **options)
    assert (runtime.id, runtime.state) == (851, "SUSPENDED")


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        (None, ()),
        ('299 - "FAAS.MEM is ignored"', ("FAAS.MEM is ignored",)),
        ('299 - "a", 299 - "b \\"c\\""', ("a", 'b "c"')),
        ("no quotes", ("no quotes",)),
    ],
)
def test_warnings_of_a_create_are_read(
    client: Client, api: responses.RequestsMock, header: str | None, texts: tuple[str, ...]
) -> None:
    headers = {} if header is None else {"Warning": header}
    api.post(RUNTIMES, status=201, json=response(), headers=headers)
    assert client.create_runtime(Function("nature")).warnings == texts


def test_a_delete_can_wait_until_the_vms_are_gone(
    client: Client, api: responses.RequestsMock
) -> None:
    waits = matchers.query_param_matcher({"wait": "9"})
    api.delete(f"{RUNTIMES}/851", status=204, match=[waits])
    client.delete_runtime(851, wait_seconds=9)


def test_a_quota_is_read_by_metric(client: Client, api: responses.RequestsMock) -> None:
    body = {"VMS": {"LIMIT": None, "USED": 3}, "CPU": {"LIMIT": 8, "USED": 2.5}}
    api.get(f"{URL}/quota", json=body)
    assert client.quota() == {"VMS": Quota(3, None), "CPU": Quota(2.5, 8)}


def test_a_lease_is_renewed_while_a_block_lasts(
    client: Client, api: responses.RequestsMock
) -> None:
    """Also after a renewal that failed; with the user's own credentials."""
    enough, threads = threading.Event(), threading.active_count()
    found = iter([200, 503, 200])

    def renew(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert json.loads(request.body or "") == specification(lease_seconds=1)
        assert request.headers["Authorization"].startswith("Basic ")
        status = next(found, 0)
        if not status:
            enough.set()
        return status or 200, {}, json.dumps(response())

    api.add_callback("PUT", f"{RUNTIMES}/851", callback=renew)
    with client.renewing_lease(851, 1):
        assert enough.wait(30)
    assert threading.active_count() == threads


def test_a_lease_that_cannot_be_given_is_an_error(
    client: Client, api: responses.RequestsMock
) -> None:
    api.put(f"{RUNTIMES}/851", status=404, json=error())
    with pytest.raises(module.NotFound), client.renewing_lease(851, 60):
        pytest.fail("the block does not begin")
