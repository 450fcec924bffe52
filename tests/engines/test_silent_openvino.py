"""The box reports to nobody."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_openvino_reports_nothing_and_leaves_nothing_in_the_users_home(tmp_path: Path) -> None:
    code = "import edge.engines, edge.engines.openvino_cpu, sys; print(sys.modules.get('openvino_telemetry'))"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert list(tmp_path.iterdir()) == []


def test_openvino_is_imported_in_one_place_only() -> None:
    for package in ("edge", "training", "export", "calib", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            imported = re.search(r"^\s*(import|from) openvino\b", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert imported is None or path.name == "silent_openvino.py", path
