"""The flow templates that the operator's guide shows make a flavour, in each dialect."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .pages import ROOT, blocks, running_site

Json = dict[str, Any]


def shown(mark: str) -> Json:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (found,) = (block for block in blocks(page) if block.words == ("json", mark))
    template: Json = json.loads(found.text)
    return template


def post(url: str, credentials: str, body: Json) -> Json:
    token = base64.b64encode(credentials.encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read()
    answer: Json = json.loads(text) if text else {}
    return answer


@pytest.mark.parametrize(("release", "mark"), [("6.8.0", "flow-6"), ("7.4.0", "flow-7")])
def test_each_template_of_the_guide_is_a_flavour(release: str, mark: str, tmp_path: Path) -> None:
    template = shown(mark)
    wanted = {"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": template["name"]}}}
    with running_site(tmp_path, release) as site:
        templates = f"{site.sandbox.oneflow_url}/service_template"
        made = post(templates, "oneadmin:opennebula", template)["DOCUMENT"]
        allow = {"action": {"perform": "chmod", "params": {"octet": "644"}}}
        post(f"{templates}/{made['ID']}/action", "oneadmin:opennebula", allow)
        url = f"{site.engine_url}/serverless-runtimes?wait=30"
        runtime = post(url, "devuser:devpass", wanted)["SERVERLESS_RUNTIME"]
    assert runtime["FAAS"]["STATE"] == "RUNNING"
    assert runtime["FAAS"]["ENDPOINT"]
