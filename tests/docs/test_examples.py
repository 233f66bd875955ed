"""The example devices take one runtime through its lifecycle, with the same output."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provision_engine import config
from provision_engine.client import Client
from tests.support.programs import c_compiler, program

from .lossy_proxy import Fate, lossy_proxy
from .pages import LIMIT_SECONDS, ROOT, Site

EXAMPLES = ROOT / "examples"


def c_device(directory: Path) -> list[str]:
    """The C example, compiled as its first lines say (gcc and libcurl4-openssl-dev)."""
    device = directory / "device"
    command = [c_compiler(), "-Wall", "-Wextra", "-Werror", "-o", str(device)]
    subprocess.run([*command, str(EXAMPLES / "device.c"), "-lcurl"], check=True)
    return [str(device)]


def device(language: str, directory: Path) -> list[str]:
    if language == "c":
        return c_device(directory)
    if language == "shell":
        program("curl")
        return [str(EXAMPLES / "device.sh")]
    return [sys.executable, str(EXAMPLES / "device.py")]


def run(command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


LANGUAGES = pytest.mark.parametrize("language", ["python", "shell", "c"])
OUTPUT = ["created runtime 12", "RUNNING at 10.0.0.1", "resized to 2 cores", "deleted"]


@LANGUAGES
def test_a_device_creates_uses_and_deletes_a_runtime(
    language: str, site: Site, tmp_path: Path
) -> None:
    done = run(device(language, tmp_path), ENGINE=site.engine_url)
    assert done.stderr == ""
    assert done.stdout.splitlines() == OUTPUT
    assert done.returncode == 0
    assert "one.vm.resize" in [call.method for call in site.sandbox.calls]
    assert site.sandbox.store.documents() == []


@LANGUAGES
def test_a_device_reports_a_refusal(language: str, site: Site, tmp_path: Path) -> None:
    done = run(device(language, tmp_path), ENGINE=site.engine_url, ENGINE_PASSWORD='wr"on\\g')
    assert done.returncode == 1
    assert "401: " in done.stderr
    assert "Authentication failed" in done.stderr
    assert done.stdout == ""


@LANGUAGES
def test_a_device_deletes_a_failed_runtime(language: str, site: Site, tmp_path: Path) -> None:
    site.sandbox.faults.set_text("driver:boot:fails")
    done = run(device(language, tmp_path), ENGINE=site.engine_url)
    assert done.returncode == 1
    assert "BOOT_FAILURE" in done.stderr
    assert done.stdout.splitlines()[-1] == "deleted"
    assert site.sandbox.store.documents() == []


DISTURBED = [
    *((method, Fate.LOSE) for method in ("POST", "GET", "PUT", "DELETE")),
    *((method, Fate.LOCKED) for method in ("POST", "PUT", "DELETE")),
    *((method, Fate.GATEWAY) for method in ("POST", "DELETE")),
]


@LANGUAGES
@pytest.mark.parametrize(("method", "fate"), DISTURBED, ids=str)
def test_a_request_whose_response_is_lost_or_that_is_locked_is_repeated_and_leaks_nothing(
    language: str, method: str, fate: Fate, site: Site, tmp_path: Path
) -> None:
    with lossy_proxy(site.engine_port) as proxy:
        proxy.first[method] = fate
        done = run(device(language, tmp_path), ENGINE=proxy.url)
    assert (done.stderr, done.stdout.splitlines(), done.returncode) == ("", OUTPUT, 0)
    first, *others = [request for request in proxy.requests if request.method == method]
    assert first.was_lost == (fate is not Fate.LOCKED)
    assert (first.status == 423) == (fate is Fate.LOCKED)
    assert {request.key for request in others} == {first.key}
    if method == "POST":
        assert first.key
        assert [request.status for request in others] == [200 if first.was_lost else 201]
    assert site.sandbox.store.documents() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ID", "12"),
        ("STATE", "ERROR"),
        ("ERROR", r"no host, no VM: \"a{b}\""),
        ("CPU", "2"),
        ("TTL", "900"),
        ("NONE", ""),
    ],
)
def test_the_shell_reads_the_first_member_of_a_name(name: str, value: str, tmp_path: Path) -> None:
    faas = {"VM_ID": 1, "CPU": 2, "STATE": "ERROR", "ERROR": 'no host, no VM: "a{b}"'}
    runtime = {
        "ID": 12,
        "FAAS": faas,
        "DAAS": {"CPU": 4, "STATE": "RUNNING"},
        "LEASE": {"TTL": 900},
    }
    response = tmp_path / "response"
    response.write_text(json.dumps({"SERVERLESS_RUNTIME": runtime}, separators=(",", ":")))
    script = (EXAMPLES / "device.sh").read_text()
    (function,) = re.findall(r"^member\(\) {\n.*?^}$", script, re.DOTALL | re.MULTILINE)
    done = run(["sh", "-c", f"{function}\nmember {name}"], response=str(response))
    assert (done.stdout.strip("\n"), done.stderr) == (value, "")


@LANGUAGES
def test_a_device_whose_creates_are_all_lost_leaves_a_lease(
    language: str, site: Site, tmp_path: Path
) -> None:
    with lossy_proxy(site.engine_port) as proxy:
        proxy.always["POST"] = Fate.LOSE
        done = run(device(language, tmp_path), ENGINE=proxy.url)
    assert done.returncode == 1
    assert "no response" in done.stderr
    assert [r.status for r in proxy.requests] == [201, 200, 200, 200, 200]
    with Client(site.engine_url, "devuser", "devpass") as client:
        (left,) = client.list_runtimes()
    assert left.lease_seconds == 900


@LANGUAGES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_signal_deletes_the_runtime(
    language: str, number: signal.Signals, method: str, site: Site, tmp_path: Path
) -> None:
    """While the create is on its way, and while the runtime is waited for; Ctrl-C reaches all
    processes of the device, SIGTERM the first one only."""
    command = device(language, tmp_path)
    with lossy_proxy(site.engine_port) as proxy:
        proxy.first[method] = Fate.HOLD
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "ENGINE": proxy.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert proxy.is_held.wait(LIMIT_SECONDS)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        proxy.release.set()
        output, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 128 + number, errors
    assert output.splitlines()[0].startswith("created runtime ")
    assert output.splitlines()[-1] == "deleted"
    assert "resized" not in output
    assert site.sandbox.store.documents() == []


def test_the_example_configuration_matches_the_sandbox() -> None:
    found = config.load(EXAMPLES / "engine.conf")
    assert (found.host, found.port) == ("127.0.0.1", 1337)
    assert found.one_xmlrpc == "http://127.0.0.1:2633/RPC2"
    assert found.oneflow_server == "http://127.0.0.1:2474"
