"""The harness that follows coverage: skips and says so where atheris is not installed."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.fuzz import guided
from benchmarks.fuzz.__main__ import main
from benchmarks.fuzz.corpus import corpus


def test_without_atheris_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(guided, "is_installed", lambda: False)
    answer = CliRunner().invoke(main, ["guided", "--work", str(tmp_path), "--out", str(tmp_path)])
    assert answer.exit_code == 2
    assert "pip install 'edge-cxr[fuzz]'" in answer.output


@pytest.mark.skipif(not guided.is_installed(), reason=guided.MISSING)
def test_it_follows_coverage_for_a_moment(tmp_path: Path) -> None:
    followed = guided.follow(tmp_path, minutes=0.02)
    assert followed.processes >= 1
    assert followed.coverage > 100
    assert len(list((tmp_path / "corpus").iterdir())) >= len(corpus())
