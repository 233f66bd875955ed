"""The handlers of the logs: files with rotation and many writers, and syslog."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from provision_engine import log
from provision_engine.config import Log
from provision_engine.errors import OperatorError
from provision_engine.log import handlers

from .samples import HEADER, lines

# ---- files -----------------------------------------------------------------------------


@pytest.mark.parametrize("is_recreated", [False, True])
def test_after_a_rotation_a_new_file_is_started(directory: Path, is_recreated: bool) -> None:
    log.engine.info("before")
    (directory / "engine.log").rename(directory / "engine.log.1")
    if is_recreated:
        (directory / "engine.log").touch()
    log.engine.info("after")
    assert [line.rpartition(": ")[2] for line in lines(directory)] == ["after"]
    rotated = (directory / "engine.log.1").read_text()
    assert ("before" in rotated, "after" in rotated) == (True, False)


def test_an_existing_file_is_continued(directory: Path) -> None:
    log.engine.info("one")
    log.start(Log(0, "file", directory))
    log.engine.info("two")
    assert [line[-3:] for line in lines(directory)] == ["one", "two"]
    # Others cannot read it.
    assert (directory / "engine.log").stat().st_mode & 0o007 == 0


def test_a_full_disk_loses_lines_but_fails_no_request(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def nearly_full(descriptor: int, data: bytes) -> int:
        return real(descriptor, data[:10])

    log.engine.info("one")
    monkeypatch.setattr(os, "write", full)
    log.engine.info("lost")
    monkeypatch.setattr(os, "write", nearly_full)
    log.engine.info("torn")
    monkeypatch.setattr(os, "write", real)
    log.engine.info("whole")
    found = lines(directory)
    assert len(found) == 3
    assert found[2].endswith(": whole")


def test_a_missing_directory_loses_lines_but_fails_no_request(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    log.engine.info("lost")
    directory.mkdir()
    log.engine.info("written")
    assert lines(directory)[0].endswith("written")


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        ("file", r"^the log .*/engine\.log cannot be written: Not a directory$"),
        ("syslog", r"^log\.system is syslog, but .*/file/log cannot be reached: Not a directory$"),
    ],
)
def test_logs_that_cannot_be_written_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(handlers, "SYSLOG_SOCKET", str(tmp_path / "file" / "log"))
    with pytest.raises(OperatorError, match=reason):
        log.start(Log(1, system, tmp_path / "file" / "logs"))


WRITER = """
import sys
from pathlib import Path
from provision_engine import log
from provision_engine.config import Log
from provision_engine.errors import OperatorError
log.start(Log(0, "file", Path(sys.argv[1])))
for number in range(int(sys.argv[3])):
    with log.request(sys.argv[2]):
        log.engine.info("%d %s", number, "x" * (number % 3000))
"""


def test_several_processes_write_whole_lines_through_a_rotation(tmp_path: Path) -> None:
    count, writers = 2000, 4
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"w{n}", str(count)])
        for n in range(writers)
    ]
    current, rotated = tmp_path / "engine.log", tmp_path / "engine.log.1"
    while not current.exists() or current.stat().st_size < 300_000:
        assert any(process.poll() is None for process in processes)
    current.rename(rotated)
    assert [process.wait(60) for process in processes] == [0] * writers

    seen: dict[str, list[int]] = {f"w{n}": [] for n in range(writers)}
    for file in (rotated, current):
        first, *rest = file.read_text().splitlines()
        assert HEADER.fullmatch(first)
        for line in rest:
            match = re.fullmatch(r"I, \[.{19} #\d+\]  INFO -- (w\d): (\d+) (x*)", line)
            assert match, line
            assert len(match[3]) == int(match[2]) % 3000
            seen[match[1]].append(int(match[2]))
    assert all(sorted(numbers) == list(range(count)) for numbers in seen.values())


# ---- syslog ----------------------------------------------------------------------------


def test_syslog_gets_each_component_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(5)
        monkeypatch.setattr(handlers, "SYSLOG_SOCKET", str(tmp_path / "log"))
        log.start(Log(0, "syslog", tmp_path))
        try:
            with log.request("r1"):
                log.engine.warning("a\nb")
                log.cloud.debug("c")
            log.answered("::1", "GET / HTTP/1.1", 200, 2, 0.5)
            found = [receiver.recv(65_536).decode() for _ in range(3)]
        finally:
            log.stop()
    pid = os.getpid()
    # Facility 3 is daemon: 24 plus the severity.
    assert found == [
        f"<28>engine[{pid}]: WARN -- r1: a\\nb",
        f"<31>CloudClient[{pid}]: DEBUG -- r1: c",
        f'<30>api[{pid}]: INFO -- : ::1 "GET / HTTP/1.1" 200 2 0.5000',
    ]
    assert not (tmp_path / "engine.log").exists()


def test_a_syslog_that_disappears_fails_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handlers, "SYSLOG_SOCKET", str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        log.start(Log(0, "syslog", tmp_path))
    (tmp_path / "log").unlink()
    log.engine.info("lost")
    log.stop()
    assert capfd.readouterr().err == ""
