"""What people read is what was noted, named or configured, letter for letter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reports import scored

from edge.config_commands import config_group
from edge.lookup import Asked, Found, Lookup
from edge.similarity import EarlierCase
from edge.tables import print_found, print_lookup, print_reports

NOTE = "ward:bed:12 [b]4711[/b] :x:"
CASE = EarlierCase("0" * 16, np.zeros(128, np.float32), ":o: [i]", 0.5)
LOOKUP = Lookup(
    Asked(CASE, 0.5, True, NOTE, precision="int8"), (Found(0.1, replace(CASE, case_id="1" * 16)),), 0.5, None, ()
)


def test_notes_and_labels_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_lookup(LOOKUP, as_json=False)
    shown = capsys.readouterr().out
    assert f"{'0' * 16}: {NOTE}" in shown
    assert ":o: [i]" in shown
    assert "no case fits" not in shown


def test_it_is_said_that_no_case_fits(capsys: pytest.CaptureFixture[str]) -> None:
    print_lookup(replace(LOOKUP, found=()), as_json=False)
    assert "no case fits" in capsys.readouterr().out


def test_paths_and_settings_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "edge-cxr.toml").write_text('state = "/srv/[b]:x:"\n')
    config_group.main(["show", "--config", str(tmp_path / "edge-cxr.toml")], standalone_mode=False)
    print_reports([Path("/srv/:o:/[i].dcm")], [scored(1)], as_json=False)
    print_found([{"case_id": "0", "status": "scored", "score": None, "reason": ":x:", "bundle": "[b]",
                  "precision": "int8"}], as_json=False)  # fmt: skip
    shown = capsys.readouterr().out
    for text in ("/srv/[b]:x:", "/srv/:o:/[i].dcm", ":x:", "[b]"):
        assert text in shown
