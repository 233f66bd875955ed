"""`provision-engine logs`, and the JSON form of the logs."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision_engine import log
from provision_engine.cli import logs
from provision_engine.config import Log
from tests.support.waiting import wait_until

from .cli_engine import call


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "engine.conf"
    file.write_text(f"log: {{directory: {tmp_path / 'logs'}}}\n")
    (tmp_path / "logs").mkdir()
    return file


@pytest.fixture(params=["extended", "json"])
def written(request: pytest.FixtureRequest, configuration: Path) -> Iterator[Path]:
    """Two requests in all three files."""
    directory = configuration.parent / "logs"
    log.start(Log(0, "file", directory, request.param))
    try:
        for identifier in ("aaaa1111", "bbbb2222"):
            with log.request(identifier):
                log.engine.info("Received request of %s", identifier)
                log.cloud.debug("oned.vms([%s]) done", identifier)
                call = "GET /serverless-runtimes/1 HTTP/1.1"
                log.answered("127.0.0.1", call, 200, 10, 0.1, identifier)
        yield configuration
    finally:
        log.stop()


def run(configuration: Path, *arguments: str) -> tuple[int, list[tuple[str, str]]]:
    """The exit code, and the component and text of each line."""
    ran = call("logs", "--config", str(configuration), *arguments)
    lines = ran.stdout.splitlines()
    return ran.returncode, [(line[:11].rstrip(), line[12:]) for line in lines]


def test_the_lines_of_one_request_come_from_all_files(written: Path) -> None:
    code, found = run(written, "--request", "bbbb2222")
    assert code == 0
    assert [component for component, _ in found] == ["engine", "CloudClient", "api"]
    assert all("bbbb2222" in text and "aaaa1111" not in text for _, text in found)


def test_without_a_request_all_lines_are_shown(written: Path) -> None:
    code, found = run(written)
    assert (code, len(found)) == (0, 6)


def test_an_unknown_request_gives_exit_code_1(written: Path) -> None:
    assert run(written, "--request", "cccc3333") == (1, [])


@pytest.fixture(params=["extended", "json"])
def eventful(request: pytest.FixtureRequest, configuration: Path) -> Iterator[Path]:
    """A create of alice's, a failed read of bob's, who calls himself alice, and a start."""
    log.start(Log(0, "file", configuration.parent / "logs", request.param))
    try:
        log.engine.warning("Listening: Received request to x (client=::1 user=alice runtime=5)")
        for identifier, user, status, runtime in (
            ("aaaa1111", "alice", 201, 5),
            ("bbbb2222", 'bob" (client=::1 user=alice runtime=5)', 503, 55),
        ):
            with log.request(identifier):
                log.label("client", "127.0.0.1")
                log.label("user", user)
                log.engine.info("Received request to Create%s", log.labelled())
                log.label("runtime", runtime)
                log.cloud.debug("oned.vms([%s]) done", identifier)
                if status == 503:
                    log.engine.error("OpenNebula is unreachable")
                log.engine.info("Response HTTP Return Code: %s%s", status, log.labelled())
                log.answered("127.0.0.1", "POST / HTTP/1.1", status, 10, 0.1, identifier)
        yield configuration
    finally:
        log.stop()


A, B = "aaaa1111", "bbbb2222"


@pytest.mark.parametrize(
    ("options", "requests", "count"),
    [
        (("--user", "alice"), {A}, 4),
        (("--user", 'bob" (client=::1 user=alice runtime=5)'), {B}, 5),
        (("--user", "carol"), set(), 0),
        (("--runtime", "5"), {A}, 4),
        (("--runtime", "55"), {B}, 5),
        (("--runtime", "0"), set(), 0),
        (("--errors",), {B}, 5),
        (("--errors", "--user", "alice"), set(), 0),
        (("--user", "alice", "--request", B), set(), 0),
        (("--level", "warn"), {"", B}, 3),
        (("--level", "ERROR"), {B}, 2),
        (("--since", "1h"), {"", A, B}, 10),
        (("--since", "2999-01-01T00:00"), set(), 0),
        (("-n", "2"), {A, B}, 2),
        (("-n", "1", "--user", "alice"), {A}, 1),
    ],
)
def test_lines_are_selected(
    eventful: Path, options: tuple[str, ...], requests: set[str], count: int
) -> None:
    code, found = run(eventful, *options)
    assert (code, len(found)) == (int(not count), count)
    for _, text in found:
        assert any(request in text for request in requests)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (("--since", "yesterday"), "a time such as 90s, 10m, 2h, 1d or 2026-11-24T04:00"),
        (("--since", "-5"), "a time such as"),
        (("--level", "loud"), "'debug', 'info', 'warn', 'error', 'fatal'"),
        (("--runtime", "lamp"), "integer"),
        (("--runtime", "-1"), "x>=0"),
        (("-n", "0"), "an integer from 1"),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(
    written: Path, options: tuple[str, ...], allowed: str
) -> None:
    ran = call("logs", "--config", str(written), *options)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert options[1] in ran.stderr
    assert allowed in ran.stderr


def test_a_long_log_is_shown_from_near_its_end(configuration: Path) -> None:
    log.start(Log(0, "file", configuration.parent / "logs"))
    try:
        for number in range(logs.USUAL_LINES + 1):
            log.engine.info("line %d", number)
    finally:
        log.stop()
    ran = call("logs", "--config", str(configuration))
    assert ran.stdout.splitlines()[0].endswith(": line 1")
    assert ran.stderr == ("Only the last 200 lines: -n, --since and other options show others.\n")
    assert call("logs", "--config", str(configuration), "--since", "1h").stdout.count("\n") == 201


def test_lines_are_in_time_order_and_belong_together(configuration: Path) -> None:
    directory = configuration.parent / "logs"
    event = "I, [2026-11-24 10:00:0{} #7]  INFO -- r{}: {}\n"
    (directory / "engine.log").write_text(
        "# Logfile created on 2026-11-24 10:00:00 +0000 by provision-engine/2.0.0\n"
        + event.format(1, 1, "first")
        + "torn\n"
        + event.format(3, 2, "third")
    )
    (directory / "CloudClient.log").write_text(event.format(2, 1, "second"))
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.strptime("2026-11-24", "%Y-%m-%d"))
    (directory / "api.log").write_text(f'::1 - - [{stamp}] "GET / HTTP/1.1" 200 1 0.1\n')
    code, found = run(configuration)
    assert code == 0
    texts = [text.rpartition(": ")[2] for _, text in found]
    assert texts[1:] == ["first", "torn", "second", "third"]
    assert "GET /" in texts[0]
    code, found = run(configuration, "--request", "r1")
    assert code == 0
    assert [text[-6:] for _, text in found] == [": first"[-6:], "torn", "second"]


def test_rotated_files_are_shown_on_request(written: Path) -> None:
    directory = written.parent / "logs"
    for component in logs.COMPONENTS:
        current = directory / f"{component}.log"
        packed = directory / f"{component}.log.2.gz"
        packed.write_bytes(gzip.compress(current.read_bytes().replace(b"aaaa1111", b"dddd4444")))
        os.utime(packed, (1, 1))
    assert run(written, "--request", "dddd4444") == (1, [])
    code, found = run(written, "--request", "dddd4444", "--rotated")
    assert (code, len(found)) == (0, 3)


def test_a_json_line_is_complete_and_holds_no_secret(tmp_path: Path) -> None:
    log.start(Log(0, "file", tmp_path, "json"))
    try:
        with log.request("aaaa1111"):
            log.secret("pass9")
            log.engine.warning('a\nb pass9 "quoted"')
            log.answered("::1", "GET /pass9?a=\x1b HTTP/1.1", 404, 3, 0.25, "aaaa1111")
    finally:
        log.stop()
    event, answer = (
        json.loads((tmp_path / f"{component}.log").read_text()) for component in ("engine", "api")
    )
    assert event.pop("time").endswith("Z")
    assert event == {
        "component": "engine",
        "level": "WARN",
        "pid": os.getpid(),
        "request": "aaaa1111",
        "message": 'a\\nb *** "quoted"',
    }
    wanted = {"client": "::1", "status": 404, "bytes": 3, "seconds": 0.25, "request": "aaaa1111"}
    assert wanted.items() <= answer.items()
    assert answer["call"] == "GET /***?a=\\x1b HTTP/1.1"
    assert not (tmp_path / "CloudClient.log").read_text()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [("directory: {}/none", "was the engine ever started"), ("system: syslog", "journalctl")],
)
def test_logs_that_are_elsewhere_are_reported(tmp_path: Path, settings: str, reason: str) -> None:
    file = tmp_path / "engine.conf"
    file.write_text(f"log: {{{settings.format(tmp_path)}}}\n")
    ran = call("logs", "--config", str(file))
    assert (ran.returncode, reason in ran.stderr) == (1, True)


def test_following_continues_across_a_rotation(written: Path) -> None:
    command = [sys.executable, "-m", "provision_engine", "logs", "--config", str(written)]
    directory = written.parent / "logs"
    output = written.parent / "output"
    with output.open("w") as file:
        process = subprocess.Popen([*command, "--follow", "--request", "eeee5555"], stdout=file)
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}").exists())
        seen = ""

        def written_and_shown(text: str) -> bool:
            nonlocal seen
            with log.request("eeee5555"):
                log.engine.info("%s", text)
            seen = output.read_text()
            return text in seen

        wait_until(lambda: written_and_shown("before"))
        (directory / "engine.log").rename(directory / "engine.log.1")
        wait_until(lambda: written_and_shown("after"))
        assert "Received" not in seen
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
