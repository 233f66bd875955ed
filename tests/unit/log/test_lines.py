"""The lines of the logs: their formats, one line per event, no secrets."""

from __future__ import annotations

import base64
import contextvars
import logging
import os
import re
import threading
from pathlib import Path

import pytest

from provision_engine import log
from provision_engine.config import Log

from .samples import lines

RUBY_LINE = re.compile(
    r"[DIWEF], \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #\d+\] {1,2}[A-Z]{4,5} -- .*: .*"
)


# ---- formats ---------------------------------------------------------------------------


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
    assert "It failed: ValueError: second [test_lines.py:" in line
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
