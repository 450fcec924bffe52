"""Is this machine fit to score? One line for each check, with what to do. Prints nothing."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from edge.bundle import open_bundle
from edge.config import Config
from edge.engines.opening import open_tensorrt
from edge.errors import BackendUnavailable, EdgeError, PlanMissing, StateError
from edge.reading_room import kept_plans, open_pipeline
from edge.state import SITE_KEY, filesystem_of, open_state

_SAFE_SQLITE = (3, 51, 3)  # older ones may lose a commit when the write-ahead log is reset
_WANTED_FREE_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    finding: str


def examine(config: Config) -> list[Check]:
    """Every check, the independent ones first."""
    checks = {
        "ledger library": _sqlite,
        "state folder": lambda: _state(config),
        "bundle": lambda: _bundle(config),
        "GPU": lambda: _gpu(config),
        "known answers": lambda: _known_answers(config),
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except EdgeError as fault:
        return Check(name, False, str(fault))


def _sqlite() -> str:
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < _SAFE_SQLITE:
        raise StateError(f"SQLite {version} may lose commits; run: pip install --upgrade apsw")
    return f"SQLite {version}"


def _state(config: Config) -> str:
    if not Path(config.state, SITE_KEY).exists():
        return f"{config.state} is no state folder yet; watch makes it one"
    state = open_state(Path(config.state))
    free = shutil.disk_usage(state.root).free
    if free < _WANTED_FREE_BYTES:
        raise StateError(f"only {free / 1e9:.1f} GB are free for {state.root}; free some, or choose another --state")
    return f"{state.root} on {filesystem_of(state.root)}, {free / 1e9:.0f} GB free"


def _bundle(config: Config) -> str:
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    return f"{bundle.manifest.name} {bundle.id[:12]}, {', '.join(bundle.manifest.precisions)}, every digest matches"


def _gpu(config: Config) -> str:
    """Without a GPU all is well, unless one was asked for by name. A missing plan is built while the box serves."""
    if config.backend == "openvino":
        return "not asked for"
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    try:
        engine = open_tensorrt(bundle, config.precision, kept_plans(config))
    except BackendUnavailable as missing:
        if config.backend == "tensorrt":
            raise
        return f"the CPU scores: {missing}"
    except PlanMissing as missing:
        return f"the CPU scores until a plan is built: {missing}"
    engine.close()
    return f"{engine.identity.version} runs its {engine.identity.precision} plan"


def _known_answers(config: Config) -> str:
    with open_pipeline(config) as pipeline:  # it opens only when they match
        identity = pipeline.engine.identity
    return f"every golden case matches on {identity.backend} {identity.precision}"
