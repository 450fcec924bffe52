"""A GPU is expected where one was asked for, and where the kernel shows one, whatever is installed for it."""

from pathlib import Path

import pytest

from edge.gpu_presence import gpu_expected


def device(devices: Path, name: str, vendor: str, kind: str) -> None:
    (devices / name).mkdir(parents=True)
    (devices / name / "vendor").write_text(f"{vendor}\n")
    (devices / name / "class").write_text(f"{kind}\n")


@pytest.mark.parametrize(("vendor", "kind", "found"), [
    ("0x10de", "0x030200", True),  # a 3D controller of NVIDIA
    ("0x10de", "0x030000", True),  # one with a display
    ("0x10de", "0x040300", False),  # its sound device
    ("0x8086", "0x030000", False),  # another's GPU
])  # fmt: skip
def test_by_the_devices_that_the_kernel_shows(tmp_path: Path, vendor: str, kind: str, found: bool) -> None:
    device(tmp_path, "0000:00:00.0", "0x8086", "0x060000")
    device(tmp_path, "0000:01:00.0", vendor, kind)
    assert gpu_expected("auto", devices=tmp_path) is found
    assert gpu_expected("tensorrt", devices=tmp_path)
    assert not gpu_expected("openvino", devices=tmp_path)


def test_where_nothing_is_shown_none_is_expected(tmp_path: Path) -> None:
    assert not gpu_expected("auto", devices=tmp_path / "none")
    (tmp_path / "0000:01:00.0").mkdir()
    assert not gpu_expected("auto", devices=tmp_path)
    assert gpu_expected("tensorrt", devices=tmp_path / "none")
