"""Whether a GPU is expected to score: by the settings, and by the devices that the kernel shows.

Whatever is installed for it: a GPU without driver or TensorRT is one that nobody notices to be idle.
"""

from pathlib import Path

_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"  # begins the class of graphics and 3D controllers


def gpu_expected(backend: str, *, devices: Path = _DEVICES) -> bool:
    """backend: as in the settings. True when it is asked for by name, or `auto` on a machine with an NVIDIA GPU."""
    return backend == "tensorrt" or (backend == "auto" and _has_nvidia_gpu(devices))


def _has_nvidia_gpu(devices: Path) -> bool:
    try:
        return any(_is_nvidia_gpu(device) for device in devices.iterdir())
    except OSError:  # no PCI bus, or none that is shown
        return False


def _is_nvidia_gpu(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text(encoding="ascii") for name in ("vendor", "class"))
    except OSError:
        return False
    return vendor.strip() == _NVIDIA and kind.startswith(_DISPLAY)
