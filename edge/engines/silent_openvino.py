"""OpenVINO without its telemetry: the package reports each import to its vendor and keeps an id of the machine in the
user's home. A hospital's box reports to nobody. Imported from here only; a test sees to it.
"""

import sys

# The package then takes its own stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
