"""Alerts and recording rules: promtool's tests pass, and would not for rules that are wrong."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from monitoring.rule_files import FOLDER as RULES
from monitoring.rule_files import alerts

ROOT = Path(__file__).parents[2]
UNIT_TESTS = Path(__file__).parent / "rules"
DEAD_MAN = "EdgeCxrDeadMan"  # it has to fire always, so it has no silent case
SEVERITIES = {"critical", "warning", "info", "none"}


def run(tool: str, *arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed; on Debian it comes with prometheus and prometheus-alertmanager")
    return subprocess.run([tool, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def copied(tmp_path: Path) -> Path:
    """The rules and their tests where they may be broken. Returns the folder of the rules."""
    folder = tmp_path / RULES.relative_to(ROOT)
    shutil.copytree(RULES, folder)
    shutil.copytree(UNIT_TESTS, tmp_path / UNIT_TESTS.relative_to(ROOT))
    return folder


def failures(tmp_path: Path) -> set[str]:
    """Alerts of which a unit test failed."""
    tests = sorted((tmp_path / UNIT_TESTS.relative_to(ROOT)).glob("*.yml"))
    tested = run("promtool", "test", "rules", *tests)
    return set(re.findall(r"alertname: ?(\w+)", tested.stdout + tested.stderr))


def cases() -> Iterator[tuple[str, bool]]:
    """Alert and whether it is to fire, of every unit test."""
    for path in sorted(UNIT_TESTS.glob("*.yml")):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in test["alert_rule_test"]:
                yield case["alertname"], bool(case["exp_alerts"])


def test_the_configuration_of_prometheus_is_valid() -> None:
    checked = run("promtool", "check", "config", "monitoring/prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_configuration_of_alertmanager_is_valid() -> None:
    checked = run("amtool", "check-config", "monitoring/alertmanager/alertmanager.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_unit_tests_of_the_rules_pass() -> None:
    tested = run("promtool", "test", "rules", *sorted(UNIT_TESTS.glob("*.yml")))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_seen_firing_and_silent() -> None:
    seen = set(cases())
    for alert in alerts():
        assert (alert, True) in seen, f"{alert} is never seen to fire"
        assert (alert, False) in seen or alert == DEAD_MAN, f"{alert} is never seen to be silent"
    assert {alert for alert, _ in seen} == set(alerts())


def test_an_alert_that_does_not_wait_is_found_out(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    text = (folder / "alerts.yml").read_text(encoding="utf-8")
    (folder / "alerts.yml").write_text(re.sub(r"\n +for: .*", "", text), encoding="utf-8")
    assert failures(tmp_path) == {name for name, alert in alerts().items() if "for" in alert}


def test_every_alert_says_whom_it_calls_and_what_to_do() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    entries = re.findall(r"^### (\w+)$", runbook, re.MULTILINE)
    assert sorted(entries) == sorted(alerts())
    for name, alert in alerts().items():
        told = alert["annotations"]
        assert alert["labels"]["severity"] in SEVERITIES
        assert (alert["labels"]["severity"] == "none") == (name == DEAD_MAN)
        assert told["runbook_url"] == f"/docs/runbook.md#{name.lower()}"
        assert told["summary"].endswith(".") and len(told["summary"]) < 80
        assert told["description"] != told["summary"]


@pytest.mark.parametrize("entry", sorted(alerts()))
def test_the_runbook_says_what_it_means_what_to_look_at_and_what_to_do(entry: str) -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    text = runbook.split(f"### {entry}\n")[1].split("\n### ")[0]
    for part in ("**Means:**", "**Look:**", "**Do:**"):
        assert part in text
    for page, place in re.findall(r"\]\(([\w.]+)(?:#([\w-]+))?\)", text):
        assert place in {"", *places(ROOT / "docs" / page)}, f"{page}#{place}"


def places(page: Path) -> set[str]:
    """What a link into it may name."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_alertmanager_sends_the_dead_man_to_a_heartbeat_and_inhibits_what_follows_from_another() -> None:
    told = yaml.safe_load((ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    (heartbeat,) = [route for route in told["route"]["routes"] if f'alertname="{DEAD_MAN}"' in route["matchers"]]
    assert heartbeat["receiver"] == "heartbeat"
    named = re.findall(r"EdgeCxr\w+", yaml.safe_dump(told))
    assert named
    assert set(named) <= set(alerts())
