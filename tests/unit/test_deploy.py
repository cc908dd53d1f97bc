"""What is shipped for Prometheus and Grafana speaks of figures that there are, and its alerts come when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.ingress.metrics import HELP
from app.meters import METERS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES, DASHBOARD = DEPLOY / "prometheus" / "rules.yaml", DEPLOY / "grafana" / "heyfleet.json"
ADDED = {"le", "instance"}
"""Labels of a histogram's buckets, and of Prometheus itself."""
HAS = {f"heyfleet_{meter.name}": {*meter.labels} for meter in METERS} | {
    n: {*labels} for n, (_, labels) in HELP.items()
}
SELECTED = re.compile(r"(heyfleet_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_each_expression_is_about_figures_and_labels_that_there_are(where: str, expression: str) -> None:
    found = SELECTED.findall(expression)
    assert found, where
    for name, labels in found:
        figure = name if name in HAS else re.sub(r"_(bucket|sum|count)$", "", name)
        assert figure in HAS, f"{where}: there is no {name}"
        assert set(LABEL.findall(labels)) <= HAS[figure] | ADDED, f"{where}: {name} has {sorted(HAS[figure])}"


def test_alerts_say_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["cure"]
        assert rule["for"], "a scrape that was missed is no alarm"


def test_each_alert_is_shown_to_come() -> None:
    rules = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    tests = yaml.safe_load((DEPLOY / "prometheus" / "rules_test.yaml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == rules


def test_panels_do_not_lie_on_each_other() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not mine & cells, panel["title"]
        cells |= mine


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there (Debian has it in prometheus)")
def test_alerts_come_when_they_should_and_not_before() -> None:
    for arguments in (["check", "rules", str(RULES)], ["test", "rules", str(RULES.with_name("rules_test.yaml"))]):
        found = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
