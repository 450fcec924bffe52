"""edge-cxr: what runs on the box. Never imports torch, training, export, calib or benchmarks."""

__version__ = "0.1.0"
