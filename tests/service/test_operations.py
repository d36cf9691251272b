"""docs/operations names nothing that is not there: routes, acts, alarms, metrics, keys of closeout.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from closeout.adapters.notices.wording import ALARMS
from closeout.cli import app
from closeout.service.api.guards import ROLES
from closeout.service.config import Config
from closeout.service.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "docs" / "operations"
RUNBOOK = (FOLDER / "runbook.md").read_text()
EXAMPLES = "\n".join((FOLDER / name).read_text() for name in ("closeout.service", "Containerfile", "alerts.yml"))


def names_of_metrics() -> set[str]:
    families = text_string_to_metric_families(Metrics().exposition().decode())
    names = {(family.name, family.type) for family in families}
    return {
        name + suffix
        for name, kind in names
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(kind, ("",))
    }


def test_alerts_and_runbook_name_metrics_that_exist() -> None:
    named = set(re.findall(r"\bcloseout_[a-z_]+", EXAMPLES + RUNBOOK))
    assert len(named) > 8
    assert named <= names_of_metrics()


def test_the_runbook_names_routes_that_exist() -> None:
    known = {(method, re.sub(r"\{[a-z_]+\}|NAME", "*", path)) for method, path in ROLES}
    named = set(re.findall(r"`(GET|POST|PUT|DELETE) (/[^`\s]*)`", RUNBOOK))
    assert len(named) > 20
    assert {
        (method, path) for method, path in named if (method, re.sub(r"\{[a-z_]+\}|NAME", "*", path)) not in known
    } == set()


def test_the_runbook_says_what_to_do_about_every_alarm() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", RUNBOOK, re.MULTILINE))
    assert rows.keys() == ALARMS.keys()
    assert [code for code, row in rows.items() if not row.startswith(ALARMS[code])] == []


def test_commands_and_keys_of_the_configuration_are_there() -> None:
    for command in re.findall(r"`closeout ([a-z]+(?: new)?)", RUNBOOK):
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command
    named: set[str] = set(re.findall(r"`([a-z]+\.[a-z_]+)`", RUNBOOK))
    sections: dict[str, Any] = {name: getattr(Config(rulebook=""), name) for name in Config.__struct_fields__}
    keys = {f"{name}.{key}" for name, held in sections.items() for key in getattr(held, "__struct_fields__", ())}
    assert {"storage.journal", "venue.session_file"} <= named
    assert named - {"closeout.toml", "closeout.journal"} <= keys


def test_the_containers_port_is_the_services() -> None:
    port = Config(rulebook="").listen.port
    assert f"EXPOSE {port}" in EXAMPLES
    assert f"127.0.0.1:{port}PATH" in RUNBOOK
