"""What operators copy names metrics that there are, and the documentation names all there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from edge.crew import Crew
from playhead.serving import edge_binder
from playhead.settings import Settings

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "edge.json"
OPERATIONS = ROOT / "docs" / "operating" / "edge_operations.md"
OTHERS = ROOT / "docs" / "operating"

NAME = re.compile(r"\b((?:playhead|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
OF_PROMETHEUS = {"up"}
ONCE_LISTENING = {"playhead_edge_http_congestion", "playhead_edge_tls_not_after_seconds"}
"""Of sockets: an edge has them from when it listens on."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> CollectorRegistry:
    """An edge's, as one worker of two, which has the most."""
    settings = Settings(data=tmp_path_factory.mktemp("data"))
    return edge_binder(settings, Crew(0, 2)).registry


@pytest.fixture(scope="module")
def labels(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The labels of every sample that there can be, by its name."""
    found: dict[str, set[str]] = {}
    for collector, names in registry._collector_to_names.items():
        of_it = set(getattr(collector, "_labelnames", getattr(collector, "_labels", ())))
        for name in names:
            found[name] = of_it | ({"le"} if name.endswith("_bucket") else set())
    return found


def families(registry: CollectorRegistry) -> set[str]:
    """Return what is documented of each metric: counters end in ``_total``."""
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in registry.collect()
    }


def rules() -> list[dict[str, object]]:
    read = yaml.safe_load(ALERTS.read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    return {str(rule["record"]) for rule in rules() if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield str(rule.get("alert") or rule["record"]), str(rule["expr"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("what", "expression"), [*expressions()])
def test_every_expression_names_metrics_and_labels_that_there_are(
    what: str, expression: str, labels: dict[str, set[str]]
) -> None:
    for name in recorded():
        expression = expression.replace(name, "1")
    found = NAME.findall(expression)
    assert found or "up{" in expression or "1" in expression
    for name, selectors in found:
        assert name in labels, f"{what}: an edge reports no {name}"
        chosen = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors))
        assert chosen <= labels[name] | {"job", "instance"}, f"{what}: {name}"
    assert "$__all" not in expression
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing), what


def test_every_alert_says_how_urgent_it_is_and_what_to_look_at() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 10
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        told, urgent = rule["annotations"], rule["labels"]
        assert isinstance(told, dict)
        assert isinstance(urgent, dict)
        assert set(told) == {"summary", "description"}, rule
        assert urgent["severity"] in ("page", "ticket")
        assert "{{ $labels.instance }}" in told["summary"]


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_metric_of_an_edge_is_documented_and_no_other(registry: CollectorRegistry) -> None:
    table = OPERATIONS.read_text().partition("## Metrics\n")[2]
    told = {name for name, _ in NAME.findall(table)}
    assert told == families(registry)


def test_other_pages_name_metrics_of_edges_that_there_are(registry: CollectorRegistry) -> None:
    known = families(registry) | ONCE_LISTENING
    for page in OTHERS.glob("*.md"):
        named = set(re.findall(r"`(playhead_edge_[a-z0-9_]+)", page.read_text()))
        assert named <= known, page.name
