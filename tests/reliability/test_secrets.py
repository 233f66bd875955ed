"""Passwords and what is made of them stand nowhere: no log, no answer, no argument, no file."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from provision_engine.sandbox import Sandbox
from tests.support.client import FAAS, RUNTIMES, Response
from tests.support.engine import EngineProcess, engine_process
from tests.support.users import User
from tests.support.waiting import wait_until

SECRET = User("devuser", 'S3cr:et "pass"+w/örd<')
WRONG = User("devuser", "Wr0ng:passw\\'ord<>&%")
TEXT_FILES = ("cmdline", "environ", "comm")


def forms_of(credentials: User) -> list[bytes]:
    """Everything that would give the password away: also SR_AUTH, which is the second."""
    raw = [credentials.password.encode(), credentials.password.encode("latin-1")]
    tokens = [base64.b64encode(credentials.session.encode(how)) for how in ("utf-8", "latin-1")]
    quoted = [quote(credentials.password, safe="").encode()]
    escaped = [credentials.password.encode("unicode_escape")]
    xml = credentials.password.replace("&", "&amp;").replace("<", "&lt;").encode()
    return [*raw, *tokens, base64.b64encode(raw[0]), *quoted, *escaped, xml]


@pytest.fixture
def engine(sandbox: Sandbox, tmp_path: Path) -> Iterator[EngineProcess]:
    sandbox.store.user("devuser").password = SECRET.password
    with engine_process(tmp_path / "engine", sandbox, timeout=1) as engine:
        yield engine


def everything_asked(engine: EngineProcess, sandbox: Sandbox) -> list[Response]:
    """Requests of all kinds, right and wrong, on a backend that is right and wrong."""

    def ask(method: str, path: str, *arguments: object, who: User = SECRET) -> Response:
        return engine.request(method, path, *arguments, user=who)

    made = ask("POST", RUNTIMES, {"FAAS": FAAS})
    assert made.status == 201, made
    path = f"{RUNTIMES}/{made.runtime['ID']}"
    answers = [made, ask("GET", f"{path}?wait=5"), ask("GET", RUNTIMES)]
    answers += [ask("PUT", path, {"FAAS": {"FLAVOUR": "", "CPU": 3}}), ask("PUT", path, {"X": 1})]
    answers += [ask("POST", f"{RUNTIMES}?dry_run=1", {"FAAS": FAAS}), ask("POST", RUNTIMES, {})]
    answers += [ask("POST", RUNTIMES, {"FAAS": {"FLAVOUR": "FAILED_DEPLOY"}})]
    answers += [ask("GET", where) for where in ("/server/config", "/nowhere", f"{path}/recover")]
    answers += [ask("GET", path, who=WRONG), ask("POST", RUNTIMES, {"FAAS": FAAS}, who=WRONG)]
    answers += [ask("POST", RUNTIMES, {"FAAS": FAAS, "DEVICE_INFO": {"SR_AUTH": "x"}})]
    for backend in ("oned", "oneflow"):
        for kind in ("refuse", "hang", "cut", "garbage", "error"):
            sandbox.faults.set(backend, kind)
            answers += [ask("GET", path), ask("POST", RUNTIMES, {"FAAS": FAAS})]
            sandbox.faults.clear()
    wait_until(lambda: engine.request("DELETE", path, user=SECRET).status in (204, 404))
    return answers


def test_no_secret_stands_anywhere(engine: EngineProcess, sandbox: Sandbox, tmp_path: Path) -> None:
    answers = everything_asked(engine, sandbox)
    seen = {f"answer {n}": a.content + str(a.headers).encode() for n, a in enumerate(answers)}
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    seen |= {str(file): file.read_bytes() for file in files}
    seen |= _of_processes(engine)
    assert {file.name for file in files} >= {"engine.log", "CloudClient.log", "api.log", "output"}
    assert {500, 502, 503, 504, 401, 400} <= {answer.status for answer in answers}
    forms = [form for credentials in (SECRET, WRONG) for form in forms_of(credentials)]
    leaks = [(name, form) for name, content in seen.items() for form in forms if form in content]
    assert leaks == []
    # The logs tell of every call at level debug, so that silence is no reason for this.
    assert "oneflow.instantiate_service(" in engine.log("CloudClient")
    assert "SR_AUTH" in engine.log("CloudClient")
    assert "Instantiating service_template" in engine.log()
    assert "POST /serverless-runtimes" in engine.log("api")


def _of_processes(engine: EngineProcess) -> dict[str, bytes]:
    """What everybody may read of the engine's processes, and the files that they have open."""
    assert engine.process is not None
    master = engine.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    seen = {}
    for pid in (str(master), *children):
        for name in TEXT_FILES:
            seen[f"/proc/{pid}/{name}"] = Path(f"/proc/{pid}/{name}").read_bytes()
        seen |= {f"{pid} {file}": file.read_bytes() for file in _open_files(pid)}
    return seen


def _open_files(pid: str) -> list[Path]:
    """The regular files that a process has open; what it closes meanwhile is not one of them."""
    files = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files.append(Path(os.readlink(descriptor)))
    return [file for file in files if file.is_file()]
