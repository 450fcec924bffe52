"""The unit: what it promises that the program alone does not."""

from configparser import ConfigParser
from pathlib import Path

UNIT = Path(__file__).parent.parent / "systemd" / "edge-cxr.service"


def test_the_service_refuses_to_decode_unconfined() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    assert unit["Service"]["Environment"] == "EDGE_CXR_SANDBOX=required"
    assert unit["Service"]["LimitCORE"] == "0"
