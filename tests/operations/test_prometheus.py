"""The rules and the dashboard in etc/, with promtool and with a real Prometheus."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.engine import EngineProcess
from tests.support.ports import free_port
from tests.support.programs import program, run
from tests.support.waiting import wait_until

ETC = Path(__file__).parents[2] / "etc"
RULES, DASHBOARD = ETC / "prometheus-rules.yml", ETC / "grafana-dashboard.json"
TEST_OF_RULES = Path(__file__).with_name("prometheus-rules.test.yml")
NATURE = {"FAAS": {"FLAVOUR": "nature"}}


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def dashboard() -> list[tuple[str, str]]:
    """Title and expression of each query, with the variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    return [
        (title, expr.replace("$__rate_interval", "1m").replace("$instance", ".*"))
        for title, expr in queries
    ]


def test_promtool_accepts_the_rules() -> None:
    done = run(program("promtool"), "check", "rules", RULES)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    done = run(program("promtool"), "test", "rules", TEST_OF_RULES.name, cwd=TEST_OF_RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = {
        case["alertname"]
        for test in yaml.safe_load(TEST_OF_RULES.read_text())["tests"]
        for case in test["alert_rule_test"]
    }
    assert tested == {rule["alert"] for rule in rules() if "alert" in rule}


def test_the_dashboard_is_complete() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 10
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))


class Prometheus:
    """A Prometheus that scrapes one engine each second."""

    def __init__(self, directory: Path, engine: EngineProcess) -> None:
        self.port = free_port()
        file = directory / "prometheus.yml"
        target = f"127.0.0.1:{engine.port}"
        job = {"job_name": "provision-engine", "static_configs": [{"targets": [target]}]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [job],
        }
        file.write_text(yaml.safe_dump(settings))
        with (directory / "prometheus.log").open("w") as output:
            self.process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={file}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=output,
                stderr=output,
            )

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def query(self, expression: str) -> list[Any]:
        found = self.ask("query", query=expression)
        return found["result"] if found else []

    def value(self, expression: str) -> float:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else -1.0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def prometheus(tmp_path: Path, engine: EngineProcess) -> Iterator[Prometheus]:
    prometheus = Prometheus(tmp_path, engine)
    yield prometheus
    prometheus.stop()


def test_a_real_prometheus_scrapes_the_engine(
    engine: EngineProcess, prometheus: Prometheus
) -> None:
    wait_until(lambda: prometheus.value('up{job="provision-engine"}') == 1)
    made = engine.request("POST", "/serverless-runtimes?wait=5", NATURE)
    assert made.status == 201
    number = made.runtime["ID"]
    engine.request("POST", "/serverless-runtimes", NATURE)
    for _ in range(20):
        assert engine.request("GET", f"/serverless-runtimes/{number}").status == 200
    read = 'provision_engine_http_requests_total{route="/serverless-runtimes/<runtime_id>"}'
    wait_until(lambda: prometheus.value(read) == 20)
    assert prometheus.value("provision_engine_runtimes_created_total") == 2

    targets = prometheus.ask("targets")["activeTargets"]
    assert [(t["health"], t["lastError"]) for t in targets] == [("up", "")]
    groups = prometheus.ask("rules")["groups"]
    loaded = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert loaded.keys() == {rule.get("alert", rule.get("record")) for rule in rules()}
    wait_until(lambda: all(r["health"] == "ok" for r in _rules(prometheus)))

    # A rate needs two different scrapes, so a panel has data only after more traffic.
    def nothing_to_show() -> set[str]:
        engine.request("GET", f"/serverless-runtimes/{number}")
        engine.request("GET", "/serverless-runtimes/999999")
        engine.request("POST", "/serverless-runtimes", NATURE)
        return {title for title, expr in dashboard() if not prometheus.query(expr)}

    wait_until(lambda: nothing_to_show() <= {"Share of errors (5xx)"})


def _rules(prometheus: Prometheus) -> list[Any]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
