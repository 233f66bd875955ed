"""The logs: their formats, one line per event, no secrets, rotation, many writers."""

from __future__ import annotations

import base64
import contextvars
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision_engine import __version__, log
from provision_engine.config import Log
from provision_engine.log import handlers

NOBODY = 65534
RUBY_LINE = re.compile(
    r"[DIWEF], \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #\d+\] {1,2}[A-Z]{4,5} -- .*: .*"
)
HEADER = re.compile(
    r"# Logfile created on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} by provision-engine/"
    + re.escape(__version__)
)


@pytest.fixture(autouse=True)
def _no_request() -> Iterator[None]:
    """Removes what requests of other tests left in this process."""
    with log.request(""):
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Logs at debug level, in a temporary directory."""
    log.start(Log(0, "file", tmp_path / "logs"))
    yield tmp_path / "logs"
    log.stop()


def lines(directory: Path, component: str = "engine") -> list[str]:
    """The lines of a log without the first, which is checked."""
    first, *rest = (directory / f"{component}.log").read_bytes().decode().split("\n")
    assert HEADER.fullmatch(first)
    assert rest.pop() == ""
    return rest


# ---- forms -----------------------------------------------------------------------------


def test_a_line_is_that_of_rubys_logger(directory: Path) -> None:
    with log.request("5c2e4955"):
        log.engine.info("Received request to Create a %s", "Serverless Runtime")
    line = lines(directory)[0]
    assert RUBY_LINE.fullmatch(line)
    assert line.startswith("I, [")
    assert line.endswith(
        f" #{os.getpid()}]  INFO -- 5c2e4955: Received request to Create a Serverless Runtime"
    )


def test_each_level_has_its_letter_and_five_columns(directory: Path) -> None:
    for level in (10, 20, 30, 40, 50):
        log.cloud.log(level, "x")
    found = [(line[0], line.partition("]")[2]) for line in lines(directory, "CloudClient")]
    assert found == [
        ("D", " DEBUG -- : x"),
        ("I", "  INFO -- : x"),
        ("W", "  WARN -- : x"),
        ("E", " ERROR -- : x"),
        ("F", " FATAL -- : x"),
    ]


def test_the_access_log_has_the_common_form(directory: Path) -> None:
    log.answered("127.0.0.1", "POST /serverless-runtimes HTTP/1.1", 201, 821, 2.37456)
    line = lines(directory, "api")[0]
    assert re.fullmatch(
        r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"POST /serverless-runtimes HTTP/1\.1" 201 821 2\.3746',
        line,
    )


def test_the_request_id_is_in_the_access_log_only_if_configured(tmp_path: Path) -> None:
    """The default format is exactly that of the contract."""
    for form, end in (("text", "0.5000"), ("extended", "0.5000 5c2e4955")):
        (tmp_path / form).mkdir()
        log.start(Log(1, "file", tmp_path / form, form))
        log.answered("127.0.0.1", "GET / HTTP/1.1", 200, 2, 0.5, "5c2e4955")
        log.stop()
        last = (tmp_path / form / "api.log").read_text().splitlines()[-1]
        assert last.endswith(f'"GET / HTTP/1.1" 200 2 {end}')


def test_less_severe_events_are_left_out_but_no_access(tmp_path: Path) -> None:
    log.start(Log(3, "file", tmp_path))
    try:
        log.engine.warning("no")
        log.engine.error("yes")
        log.answered("::1", "GET / HTTP/1.1", 200, 2, 0.1)
        assert [line[-3:] for line in lines(tmp_path)] == ["yes"]
        assert len(lines(tmp_path, "api")) == 1
        assert not log.cloud.isEnabledFor(logging.INFO)
    finally:
        log.stop()


def test_the_request_is_named_only_while_it_lasts(directory: Path) -> None:
    with log.request("one"):
        with log.request("two"):
            log.engine.info("a")
        log.engine.info("b")
    log.engine.info("c")
    assert [line.partition(" -- ")[2] for line in lines(directory)] == ["two: a", "one: b", ": c"]


# ---- one event is one line -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\nb\r\nc", "a\\nb\\r\\nc"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\x00\x1b[31mred\x7f", "\\x00\\x1b[31mred\\x7f"),
        ("right\u202eleft", "right\\u202eleft"),
        ("Zürich 東京 😀", "Zürich 東京 😀"),
    ],
)
def test_line_breaks_are_escaped(directory: Path, text: str, written: str) -> None:
    log.engine.info("%s", text)
    with log.request(text):
        log.cloud.info("x")
    log.answered("::1", f"GET /{text} HTTP/1.1", 400, 1, 0)
    assert [line.partition("-- : ")[2] for line in lines(directory)] == [written]
    assert lines(directory, "CloudClient")[0].endswith(f"-- {written}: x")
    assert f'"GET /{written} HTTP/1.1" 400' in lines(directory, "api")[0]


def test_a_character_that_utf8_cannot_encode_is_escaped() -> None:
    assert log.one_line("a\ud800b") == "a\\ud800b"


def test_a_quote_in_an_address_does_not_end_the_request(directory: Path) -> None:
    log.answered("::1", 'GET /" 200 1 HTTP/1.1', 404, 1, 0)
    assert '"GET /%22 200 1 HTTP/1.1" 404 1 0.0000' in lines(directory, "api")[0]


def test_an_exception_stays_on_one_line_with_its_cause(directory: Path) -> None:
    try:
        try:
            raise KeyError("first\nline")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError:
        log.engine.exception("It failed")
    (line,) = lines(directory)
    assert "It failed: ValueError: second [test_log.py:" in line
    assert "caused by KeyError: 'first\\nline'" in line


def test_a_very_long_text_is_truncated(directory: Path) -> None:
    log.engine.info("x" * 1_000_000)
    (line,) = lines(directory)
    assert len(line) < 70_000
    assert line.endswith("… (1000000 characters)")


def test_a_wrong_call_of_the_logger_fails_no_request(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own handler is stricter.
    monkeypatch.setattr(log.engine, "propagate", False)
    log.engine.info("%d things", "no number")
    assert "%d things (cannot be formatted" in lines(directory)[0]


# ---- secrets ---------------------------------------------------------------------------

PASSWORD = "p\"a\\s<s>&'wörd %"


@pytest.mark.parametrize(
    "shown",
    [
        PASSWORD,
        repr(PASSWORD),
        '{"a": "p\\"a\\\\s<s>&\'w\\u00f6rd %"}',
        "p&quot; p&amp; <PW>p\"a\\s&lt;s&gt;&amp;'wörd %</PW>",
        "http://u:p%22a%5Cs%3Cs%3E%26%27w%C3%B6rd%20%25@h",
        'PASSWORD="p\\"a\\s<s>&\'wörd %"',
    ],
)
def test_a_secret_is_hidden_in_every_spelling(directory: Path, shown: str) -> None:
    with log.request("r"):
        log.secret(PASSWORD)
        log.engine.info("found %s", shown)
    (line,) = lines(directory)
    assert "***" in line
    assert "rd" not in line.partition("found")[2].replace("PASSWORD", "")


def test_a_longer_secret_is_hidden_before_a_shorter_one(directory: Path) -> None:
    with log.request("r"):
        log.secret("one", "oneadmin:one")
        log.engine.info("<oneadmin:one>")
        log.secret("", "two")
        log.engine.info("<two one>")
    assert [line.partition("<")[2] for line in lines(directory)] == ["***>", "*** ***>"]


def test_secrets_end_with_their_request(directory: Path) -> None:
    with log.request("r"):
        log.secret("word")
    log.engine.info("word")
    assert lines(directory)[0].endswith("word")


def test_a_thread_with_a_copy_of_the_context_knows_the_secrets(directory: Path) -> None:
    with log.request("r"):
        log.secret("word")
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(log.engine.info, "a word"))
        thread.start()
        thread.join()
    assert lines(directory)[0].endswith("-- r: a ***")


CREDENTIALS = base64.b64encode(b"user:password").decode()


@pytest.mark.parametrize(
    "text",
    [
        f'SR_AUTH="{CREDENTIALS}"',
        f'SR_AUTH = "{CREDENTIALS}",',
        f'"SR_AUTH": "{CREDENTIALS}"',
        f'\\"SR_AUTH\\": \\"{CREDENTIALS}\\"',
        f"'SR_AUTH': '{CREDENTIALS}'",
        f"<SR_AUTH><![CDATA[{CREDENTIALS}]]></SR_AUTH>",
        f"SR_AUTH=&quot;{CREDENTIALS}&quot;",
        f"Authorization: Basic {CREDENTIALS}",
        f"'Authorization': 'Basic {CREDENTIALS}'",
        f"'HTTP_AUTHORIZATION': b'Basic {CREDENTIALS}'",
        f"authorization={CREDENTIALS}",
    ],
)
def test_credentials_are_hidden_wherever_they_occur(directory: Path, text: str) -> None:
    log.cloud.debug("before %s after", text)
    (line,) = lines(directory, "CloudClient")
    assert CREDENTIALS.rstrip("=") not in line
    assert "before" in line
    assert line.endswith("after")


@pytest.mark.parametrize("text", ["SR_AUTH is off", "authorization failed for user", "basic facts"])
def test_words_about_credentials_stay(directory: Path, text: str) -> None:
    log.engine.info(text)
    assert lines(directory)[0].endswith(text)


# ---- files -----------------------------------------------------------------------------


def test_after_a_rotation_a_new_file_is_started(directory: Path) -> None:
    log.engine.info("before")
    (directory / "engine.log").rename(directory / "engine.log.1")
    log.engine.info("after")
    assert [line[-6:] for line in lines(directory)] == [": after"[-6:]]
    assert "before" in (directory / "engine.log.1").read_text()
    assert "after" not in (directory / "engine.log.1").read_text()


def test_an_empty_file_made_by_the_rotation_gets_its_first_line(directory: Path) -> None:
    (directory / "engine.log").rename(directory / "engine.log.1")
    (directory / "engine.log").touch()
    log.engine.info("after")
    assert len(lines(directory)) == 1


def test_an_existing_file_is_continued(directory: Path) -> None:
    log.engine.info("one")
    log.start(Log(0, "file", directory))
    log.reopen()
    log.engine.info("two")
    assert [line[-3:] for line in lines(directory)] == ["one", "two"]


def test_files_are_not_readable_by_everyone(directory: Path) -> None:
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
    log.reopen()
    directory.mkdir()
    log.engine.info("written")
    assert lines(directory)[0].endswith("written")


def test_a_directory_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(log.LogError) as caught:
        log.start(Log(1, "file", tmp_path / "file" / "logs"))
    assert str(caught.value) == (
        f"the log {tmp_path}/file/logs/engine.log cannot be written: Not a directory"
    )


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may write everywhere, so it becomes another user for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_directory_without_write_permission_stops_the_start(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with (
        ordinary_user(),
        pytest.raises(log.LogError, match=r"engine\.log cannot be written: Permission denied"),
    ):
        log.start(Log(1, "file", locked / "logs"))


WRITER = """
import sys
from pathlib import Path
from provision_engine import log
from provision_engine.config import Log
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


def test_a_missing_syslog_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "SYSLOG_SOCKET", str(tmp_path / "none"))
    with pytest.raises(log.LogError, match=r"log\.system is syslog, but .*none cannot be reached"):
        log.start(Log(0, "syslog", tmp_path))


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
