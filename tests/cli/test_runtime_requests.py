"""`provision-engine runtime …` with hand-made responses: what it sends and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from responses import matchers

from provision_engine.cli.runtime import exit_codes as codes

from .cli_engine import call

URL = "http://engine.test"
RUNTIMES = f"{URL}/serverless-runtimes"
LOST = requests.exceptions.ConnectionError("Connection reset by peer")


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Calls the command; its exit code, what it prints, and its errors."""
    auth = tmp_path / "one_auth"
    auth.write_text("devuser:devpass")
    monkeypatch.setenv("ONE_AUTH", str(auth))
    monkeypatch.setenv("PROVISION_ENGINE_URL", URL)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)

    return lambda *arguments: call("runtime", *arguments)


Run = Callable[..., tuple[int, str, str]]


def body(state: str = "RUNNING", **members: Any) -> dict[str, Any]:
    function = {"FLAVOUR": "nature", "CPU": 1, "MEMORY": 512, "DISK_SIZE": 1024, "VM_ID": 7}
    runtime = {"ID": 12, "NAME": "lamp", "FAAS": {**function, "STATE": state, **members}}
    return {"SERVERLESS_RUNTIME": runtime}


@pytest.mark.parametrize(
    ("action", "reached"), [("suspend", "SUSPENDED"), ("resume", "RUNNING"), ("recover", "RUNNING")]
)
def test_an_action_can_wait_for_its_outcome(
    api: responses.RequestsMock, run: Run, action: str, reached: str
) -> None:
    api.post(f"{RUNTIMES}/12/{action}", json=body("UPDATING"))
    for state in ("UPDATING", reached):
        api.get(f"{RUNTIMES}/12", json=body(state))
    code, shown, errors = run(action, "12", "--wait")
    assert (code, errors) == (0, "")
    assert f"FAAS.STATE      {reached}" in shown
    assert [call.request.method for call in api.calls] == ["POST", "GET", "GET"]


def test_an_action_without_wait_shows_the_response(api: responses.RequestsMock, run: Run) -> None:
    api.post(f"{RUNTIMES}/12/suspend", json=body("UPDATING"))
    code, shown, _ = run("suspend", "12", "--json")
    assert (code, json.loads(shown)) == (0, body("UPDATING"))


def test_a_slow_suspension_is_a_timeout(api: responses.RequestsMock, run: Run) -> None:
    api.post(f"{RUNTIMES}/12/suspend", json=body("UPDATING"))
    api.get(f"{RUNTIMES}/12", json=body("UPDATING"))
    code, _, errors = run("suspend", "12", "--wait", "0")
    assert code == codes.STILL_WAITING
    assert "12 is UPDATING, not yet SUSPENDED" in errors


def test_a_runtime_can_be_waited_for_until_it_is_suspended(
    api: responses.RequestsMock, run: Run
) -> None:
    api.get(f"{RUNTIMES}/12", json=body("SUSPENDED"))
    assert run("wait", "12", "--for", "suspended")[0] == 0


def test_a_replacement_is_requested_only_with_its_option(
    api: responses.RequestsMock, run: Run
) -> None:
    nothing, replace = ({}, {"replace": "true"})
    for query in (nothing, replace):
        matching = [matchers.query_param_matcher(query)]
        api.post(f"{RUNTIMES}/12/recover", json=body(), match=matching)
    assert run("recover", "12")[0] == 0
    assert run("recover", "12", "--replace")[0] == 0
    assert len(api.calls) == 2


def test_ignored_members_are_warnings(api: responses.RequestsMock, run: Run) -> None:
    ignored = {"Warning": '299 - "FAAS.MEM is ignored"'}
    api.post(RUNTIMES, status=201, json=body("PENDING"), headers=ignored)
    code, shown, errors = run("create", "nature")
    assert (code, errors) == (0, "warning: FAAS.MEM is ignored\n")
    assert shown.startswith("ID ")
    warnings = [{"CODE": "IGNORED", "PATH": "MEM", "TEXT": "MEM is ignored"}]
    api.post(RUNTIMES, json={"WARNINGS": warnings, "ROLES": {}})
    code, shown, errors = run("create", "nature", "--dry-run")
    assert (code, errors) == (0, "warning: MEM is ignored\n")
    assert "MEM" not in shown
    assert json.loads(run("create", "nature", "--dry-run", "--json")[1])["WARNINGS"] == warnings


def test_newer_members_are_shown_if_present(api: responses.RequestsMock, run: Run) -> None:
    response = body("PENDING", REASON="no host", REASON_CODE="NO_MATCHING_HOST")
    response["SERVERLESS_RUNTIME"]["CREATED"] = "2026-11-24T03:00:00Z"
    api.get(f"{RUNTIMES}/12", json=response)
    shown = run("show", "12")[1]
    assert "NO_MATCHING_HOST" in shown
    assert "2026-11-24T03:00:00" in shown


def test_the_newest_are_requested_in_one_page(api: responses.RequestsMock, run: Run) -> None:
    query = matchers.query_param_matcher({"limit": "2", "order": "desc"})
    following = {"Link": '</serverless-runtimes?limit=2&order=desc&before=11>; rel="next"'}
    page = [body(), body(), body()]
    for number, entry in zip((13, 12, 11), page, strict=True):
        entry["SERVERLESS_RUNTIME"]["ID"] = number
    api.get(RUNTIMES, json=page[:2], match=[query], headers=following)
    assert run("list", "-q", "--newest", "2") == (0, "13\n12\n", "")
    assert len(api.calls) == 1


def test_the_runtimes_of_all_users_have_owners(api: responses.RequestsMock, run: Run) -> None:
    everything = matchers.query_param_matcher({"all": "true", "limit": "100", "order": "asc"})
    page = [body(), body()]
    for entry, owner in zip(page, ("anna", "devuser"), strict=True):
        entry["SERVERLESS_RUNTIME"]["OWNER"] = owner
    api.get(RUNTIMES, json=page, match=[everything])
    code, shown, _ = run("list", "--all")
    assert (code, [line.split()[:3] for line in shown.splitlines()]) == (
        0,
        [["ID", "OWNER", "NAME"], ["12", "anna", "lamp"], ["12", "devuser", "lamp"]],
    )
    api.reset()
    api.get(RUNTIMES, status=403, json={"error": "Permission denied", "message": "?all"})
    assert run("list", "--all")[0] == codes.REFUSED


def test_a_lease_can_be_removed(api: responses.RequestsMock, run: Run) -> None:
    wanted = matchers.json_params_matcher({"SERVERLESS_RUNTIME": {"LEASE": None}})
    api.put(f"{RUNTIMES}/12", json=body(), match=[wanted])
    assert run("update", "12", "--no-lease")[0] == 0


@pytest.mark.parametrize(
    ("failure", "code", "begins"),
    [(KeyboardInterrupt(), 130, "interrupted; "), (LOST, codes.LATER, "no response; ")],
    ids=["interrupted", "lost"],
)
def test_a_create_without_a_response_says_how_to_find_the_runtime(
    api: responses.RequestsMock, run: Run, failure: BaseException, code: int, begins: str
) -> None:
    def fail(_request: requests.PreparedRequest) -> Any:
        raise failure

    api.add_callback("POST", RUNTIMES, callback=fail)
    ended, shown, errors = run("create", "nature")
    assert (ended, shown) == (code, "")
    (key,) = {call.request.headers["Idempotency-Key"] for call in api.calls}
    assert errors.startswith(begins)
    assert f"the same command with --key {key} returns it" in errors


def test_details_of_any_form_are_shown_as_lines(api: responses.RequestsMock, run: Run) -> None:
    log = [{"timestamp": 0, "severity": "E", "message": "no\x1b quota"}, {"other": 1}, "text"]
    api.post(RUNTIMES, status=500, json={"error": "Failed", "message": log})
    code, _, errors = run("create", "nature")
    assert code == codes.FAILED
    assert errors.splitlines() == [
        "provision-engine: Failed",
        "  1970-01-01T00:00:00Z  ERROR  no\\x1b quota",
        "  other: 1",
        "  text",
    ]
