"""Arrows point one way: other packages import edge, never the reverse; inside edge each layer imports lower ones."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge", "training", "export", "calib", "benchmarks")
MAY_IMPORT = {
    "edge": {"edge"},
    "training": {"edge", "training"},
    "export": {"edge", "training", "export"},
    "calib": {"edge", "training", "export", "calib"},
    "benchmarks": set(PACKAGES),
}
# From the bottom up; a module imports only from lower layers, or from its own.
LAYERS = (
    {"values", "decision", "errors", "formats", "config", "signature", "options", "durable", "temperature"},
    {"lazy_commands", "statistics", "calibration", "operating_point", "manifest_lines", "notify", "heartbeat"},
    {"gpu_presence", "in_flight", "repeats", "shadow_pairs"},
    {"turns", "byte_budget", "line", "mounts", "beneath", "notifications", "disk_space"},
    {"looks", "window", "put_off", "waiting", "scans"},
    {"limits", "elements", "body", "file_meta", "inflate", "codestream", "jpeg2000", "grey", "pixel_data"},
    {"header", "dicom"},
    {"png", "tiff", "tiff_directory", "lzw", "read", "preload", "preprocess", "phantom", "snapshot", "log"},
    {
        "seal",
        "external_data",
        "strict_json",
        "frontal",
        "gate_limits",
        "bundle",
        "schema",
        "audit",
        "index_file",
        "reference_levels",
        "shelf",
        "shelf_list",
        "reference_cases",
    },
    {"sandbox", "wire", "worker", "worker_process", "decoder", "decode_pool"},
    {"engines", "quality", "similarity", "case_index", "index_check", "known_answer", "site_calibration"},
    {"site_fit", "site_cohort", "drift_signals", "drift"},
    {"store", "ledger_reader", "audit_log", "upkeep", "mentions", "ledger_copy", "pipeline", "http"},
    {"ledger_counts", "metric_families", "metrics"},
    {"folders"},
    {"inbox"},
    {"outputs", "state"},
    {"intake", "beside"},
    {"instances"},
    {
        "stages",
        "put_away",
        "reading_room",
        "doctor",
        "building",
        "engine_room",
        "standing",
        "drift_watch",
        "recalibration",
    },
    {"case_files", "requeue", "forget", "retention", "backup", "reembed", "case_pictures", "lookup", "lookup_sheet"},
    {"shelf_changes"},
    {"box", "changes"},
    {"shadow_queue", "shadow"},
    {"scrape", "score_line"},
    {"scoring"},
    {"daemon"},
    {"demo"},
    {"shelf_commands", "shadow_commands"},
    {"tables", "bundle_commands", "index_commands", "ledger_commands", "audit_commands", "calibration_commands"},
    {"config_commands"},
    {"cli"},
)
HEAVY = {"torch", "timm", "kornia", "onnx", "onnxruntime", "sklearn", "matplotlib"}


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; name the package"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    for path in sources(package):
        for name in imported_names(path):
            top = name.split(".")[0]
            assert top not in PACKAGES or top in MAY_IMPORT[package], f"{path} imports {name}"


def test_the_box_needs_nothing_heavy() -> None:
    for path in sources("edge"):
        for name in imported_names(path):
            assert name.split(".")[0] not in HEAVY, f"{path} imports {name}"


def layer_of(module: str) -> int:
    """Layer of edge.<module>, or of edge.imaging.<module>; phantom and its parts are one noun, durable is its own."""
    parts = module.split(".")[1:]
    noun = parts[1] if parts[0] == "imaging" and len(parts) > 1 else parts[0]
    noun = "durable" if parts == ["outputs", "durable"] else noun
    noun = "phantom" if noun.startswith("phantom") else noun
    return next(number for number, layer in enumerate(LAYERS) if noun in layer)


def test_inside_edge_imports_point_down() -> None:
    modules = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources("edge")}
    known = {module.removesuffix(".__init__") for module in modules.values()}
    for path, module in modules.items():
        if module.endswith("__init__") and module != "edge.engines.__init__":
            continue
        for name in imported_names(path):
            if name in known and name not in ("edge", "edge.imaging", "edge.outputs"):
                assert layer_of(name) <= layer_of(module), f"{module} imports {name}, which lies above it"
