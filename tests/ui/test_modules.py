"""The page's pure modules, run in the browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from provision_engine.sandbox import Sandbox

from .browser import Page
from .conftest import opened_page


@pytest.fixture(scope="module")
def page(driver: Any) -> Iterator[Page]:
    """One page for all of them, which leave it as it is."""
    with Sandbox() as sandbox, opened_page(driver, sandbox) as page:
        yield page


def js(value: object) -> str:
    """A literal of JavaScript."""
    return json.dumps(value)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m.duration(0)", "0s"),
        ("m.duration(59.9)", "59s"),
        ("m.duration(61)", "1m 1s"),
        ("m.duration(601)", "10m"),
        ("m.duration(4320)", "1h 12m"),
        ("m.duration(86400 * 3 + 4 * 3600)", "3d 4h"),
        ("m.age(4320)", "1h"),
        ("m.precise(1234)", "1.2s"),
        ("m.coarse(0)", "<1s"),
        ("m.megabytes(128)", "128 MB"),
        ("m.megabytes(1536)", "1.5 GB"),
        ("m.megabytes(2 * 1024 * 1024)", "2 TB"),
        ("m.sizes({CPU: 1, MEMORY: 128, DISK_SIZE: 1024})", "1 CPU · 128 MB · 1 GB"),
        ("m.shortName('nature_0b5e28ba-2fa1-41d2-883f-0016d3cca427')", "nature_0b5e28ba…"),
        ("m.shortName('camera')", "camera"),
        ("m.plural(1, 'runtime')", "1 runtime"),
        ("m.plural(1200, 'runtime')", "1,200 runtimes"),
    ],
)
def test_numbers_and_times(page: Page, expression: str, expected: str) -> None:
    assert page.module("format", expression) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40.4, -3.7", [40.4, -3.7]),
        ("40.4 -3.7", [40.4, -3.7]),
        ("{'lat': 40.4, 'lon': -3.7}", [40.4, -3.7]),
        ("{'lon': -3.7, 'lat': 40.4}", [40.4, -3.7]),
        ("POINT(-3.7 40.4)", [40.4, -3.7]),
        ("91, 0", None),
        ("Madrid", None),
        ("room 12, floor 3", None),
        ("", None),
    ],
)
def test_coordinates(page: Page, text: str, expected: list[float] | None) -> None:
    found = page.module("places", f"m.coordinates({js(text)})")
    assert found == (expected and {"latitude": expected[0], "longitude": expected[1]})


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ({"STATE": "RUNNING", "REASON_CODE": ""}, ["", "RUNNING", False]),
        (
            {"STATE": "PENDING", "REASON_CODE": "WAITING"},
            ["Waiting for its turn", "SCHEDULE", False],
        ),
        (
            {"STATE": "PENDING", "REASON_CODE": "NO_MATCHING_HOST"},
            ["No host satisfies its requirements", "SCHEDULE", True],
        ),
        ({"STATE": "PENDING", "REASON_CODE": "BOOT"}, ["Booting", "BOOT", False]),
        ({"STATE": "ERROR", "REASON_CODE": "BOOT_FAILED"}, ["Failed to boot", "ERROR", False]),
        # Without a code, or with one that the page does not know.
        ({"STATE": "PENDING", "REASON": "VM boots"}, ["VM boots", None, False]),
        (
            {"STATE": "ERROR", "ERROR": "why", "REASON_CODE": "OF_TOMORROW"},
            ["why", "ERROR", False],
        ),
    ],
)
def test_reasons(page: Page, function: dict[str, str], expected: list[object]) -> None:
    expression = f"((it) => [m.reasonOf(it), m.stepOf(it), m.canNeverStart(it)])({js(function)})"
    assert page.module("states", expression) == expected


@pytest.mark.parametrize(
    ("states", "state", "possible"),
    [
        (["RUNNING"], "RUNNING", {"resize", "lease", "edit", "suspend"}),
        (["RUNNING", "ERROR"], "ERROR", {"recover"}),
        (["PENDING BOOT", "RUNNING"], "PENDING", {"lease"}),
        (["PENDING NO_CAPACITY", "RUNNING"], "PENDING", {"lease", "edit"}),
        (["PENDING NO_MATCHING_HOST", "PENDING BOOT"], "PENDING", {"lease"}),
        (["UPDATING"], "UPDATING", {"lease"}),
        (["SUSPENDED", "SUSPENDED"], "SUSPENDED", {"lease", "resume"}),
    ],
)
def test_the_state_of_a_runtime_decides_what_can_be_done(
    page: Page, states: list[str], state: str, possible: set[str]
) -> None:
    members = [dict(zip(("STATE", "REASON_CODE"), it.split(), strict=False)) for it in states]
    runtime = dict(zip(("FAAS", "DAAS"), members, strict=False))
    assert page.module("states", f"m.stateOf({js(runtime)})") == state
    abilities = page.module("states", f"m.abilities({js(runtime)})")
    assert {name for name, why_not in abilities.items() if not why_not} == possible


@pytest.mark.parametrize(
    ("state", "since", "is_open"),
    [
        ("RUNNING", "2026-01-01T00:00:09Z", False),
        ("PENDING", "2026-01-01T00:00:01Z", True),
        ("PENDING", "2026-01-01T00:08:00Z", False),  # since a resume
    ],
)
def test_the_steps_of_a_create_become_bars(
    page: Page, state: str, since: str, is_open: bool
) -> None:
    runtime = {role: {"STATE": state, "SINCE": since} for role in ("FAAS", "DAAS")}
    steps = [
        {"STEP": "ASKED", "AT": "2026-01-01T00:00:00Z"},
        {"STEP": "SERVICE", "AT": "2026-01-01T00:00:00Z"},
        {"STEP": "VM", "FUNCTION": "FAAS", "AT": "2026-01-01T00:00:01Z"},
        {"STEP": "VM", "FUNCTION": "DAAS", "AT": "2026-01-01T00:00:01Z"},
        {"STEP": "SCHEDULED", "FUNCTION": "FAAS", "AT": "2026-01-01T00:00:04Z"},
        {"STEP": "COPIED", "FUNCTION": "FAAS", "AT": "2026-01-01T00:00:09Z"},
    ]
    expression = f"m.known({js(steps)}, {js(runtime)}, Date.parse('2026-01-01T00:09:00Z'))"
    spans = [
        [(s["step"], s["startMs"], s["endMs"], s["isOpen"]) for s in bar["spans"]]
        for bar in page.module("spans", expression)
    ]
    assert spans == [
        [
            ("ORDER", 0, 1000, False),
            ("SCHEDULE", 1000, 4000, False),
            ("COPY", 4000, 9000, False),
            *([("BOOT", 9000, 540_000, True)] if is_open else []),
        ],
        [
            ("ORDER", 0, 1000, False),
            *([("SCHEDULE", 1000, 540_000, True)] if is_open else []),
        ],
    ]


def test_a_create_that_goes_on_ends_now(page: Page) -> None:
    creation = (
        "{askedAt: 100, endedAt: null, steps: {FAAS:"
        " [{step: 'ORDER', at: 100}, {step: 'SCHEDULE', at: 300}]}}"
    )
    [bar] = page.module("spans", f"m.seen({creation}, 1100)")
    assert bar["spans"] == [
        {"step": "ORDER", "startMs": 0, "endMs": 200, "isOpen": False},
        {"step": "SCHEDULE", "startMs": 200, "endMs": 1000, "isOpen": True},
    ]


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("SERVERLESS_RUNTIME.FAAS.CPU: 0 is too small", "FAAS.CPU"),
        ("LEASE.TTL: more than allowed", "LEASE.TTL"),
        ("The user's quota of CPU is 4", None),
    ],
)
def test_an_error_leads_to_its_field(page: Page, detail: str, expected: str | None) -> None:
    expression = f"m.fieldOf({{detail: {js(detail)}}}, ['FAAS.CPU', 'LEASE.TTL'])"
    assert page.module("errors", expression) == expected


def test_an_error_message_may_be_a_text_an_object_or_a_log(page: Page) -> None:
    assert page.module("api", "m.toText('x')") == "x"
    assert page.module("api", "m.toText({oned: 'down', oneflow: 1})") == "oned: down\noneflow: 1"
    log = "[{severity: 'I', message: 'a'}, {severity: 'E', message: 'b'}]"
    assert page.module("api", f"m.toText({log})") == "b"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (
            '</serverless-runtimes?limit=5&after=7>; rel="next"',
            "/serverless-runtimes?limit=5&after=7",
        ),
        ("", None),
        ('</x>; rel="prev"', None),
    ],
)
def test_the_next_page_is_read_from_the_link(page: Page, link: str, expected: str | None) -> None:
    assert page.module("api", f"m.nextLink(new Headers({{Link: {js(link)}}}))") == expected
