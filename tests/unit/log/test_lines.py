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

# ---- formats ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "start"),
    [
        *((10, "D, [{}] DEBUG"), (20, "I, [{}]  INFO"), (30, "W, [{}]  WARN")),
        *((40, "E, [{}] ERROR"), (50, "F, [{}] FATAL")),
    ],
)
def test_a_line_is_that_of_rubys_logger(directory: Path, level: int, start: str) -> None:
    with log.request("5c2e4955"):
        log.engine.log(level, "Received request to Create a %s", "Serverless Runtime")
    (line,) = lines(directory)
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d #" + str(os.getpid())
    text = "-- 5c2e4955: Received request to Create a Serverless Runtime"
    pattern = re.escape(f"{start} {text}").replace(re.escape("{}"), when)
    assert re.fullmatch(pattern, line)


@pytest.mark.parametrize(("form", "end"), [("text", ""), ("extended", " 5c2e4955")])
def test_the_access_log_has_the_common_form_and_the_request_id_if_configured(
    tmp_path: Path, form: str, end: str
) -> None:
    log.start(Log(1, "file", tmp_path, form))
    log.answered("127.0.0.1", 'POST /" 200 HTTP/1.1', 201, 821, 2.37456, "5c2e4955")
    log.stop()
    (line,) = lines(tmp_path, "api")
    when = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    call = r'"POST /%22 200 HTTP/1\.1"'  # a quote in an address does not end the request
    assert re.fullmatch(rf"127\.0\.0\.1 - - {when} {call} 201 821 2\.3746{end}", line)


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


def test_a_text_is_truncated_and_made_encodable() -> None:
    assert log.one_line("a\ud800b") == "a\\ud800b"
    assert log.one_line("x" * 70_000) == "x" * 65_536 + "… (70000 characters)"


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
    log.engine.info("<one>")  # secrets end with their request
    assert [line.partition("<")[2] for line in lines(directory)] == ["***>", "*** ***>", "one>"]


def test_labels_are_bounded_one_line_and_cannot_be_taken_for_others(directory: Path) -> None:
    with log.request("r"):
        log.secret("pass9")
        log.label("user", 'a\n b" user=root pass9' + "x" * 70_000)
        log.label("runtime", 7)
        log.engine.info("Response HTTP Return Code: 200%s", log.labelled())
    assert log.labelled() == ""
    (line,) = lines(directory)
    shown = r'200 (user="a\\n b\" user=root ***' + "x" * 44 + '…" runtime=7)'
    assert line.endswith(shown)


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
