"""Is this machine fit to score? One line for each check, with what to do. Prints nothing."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from edge.config import Config
from edge.disk_space import Reserve
from edge.engines.opening import open_tensorrt
from edge.errors import BackendUnavailable, EdgeError, PlanMissing, StateError, Unopenable
from edge.imaging.decode_pool import open_decoder
from edge.imaging.sandbox import Layer
from edge.inbox import mode
from edge.mounts import filesystem_of
from edge.reading_room import kept_plans, open_pipeline
from edge.shelf import open_configured
from edge.state import SITE_KEY, SITE_KEY_BYTES, open_state

_SAFE_SQLITE = (3, 51, 3)  # older ones may lose a commit when the write-ahead log is reset


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    finding: str


def examine(config: Config, incoming: Path | None = None) -> list[Check]:
    """Every check, the independent ones first. incoming: the folder that is to be watched, if it is to be looked at."""
    checks = {
        "ledger library": _sqlite,
        "state folder": lambda: _state(config),
        **({} if incoming is None else {"incoming folder": lambda: _incoming(incoming, config)}),
        "bundle": lambda: _bundle(config),
        "decode worker": lambda: _decode_worker(config),
        "GPU": lambda: _gpu(config),
        "known answers": lambda: _known_answers(config),
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except EdgeError as fault:
        return Check(name, False, str(fault))
    except OSError as fault:
        return Check(name, False, f"{fault.strerror}; run it as the user of the service")


def _sqlite() -> str:
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < _SAFE_SQLITE:
        raise StateError(f"SQLite {version} may lose commits; run: pip install --upgrade apsw")
    return f"SQLite {version}"


def _state(config: Config) -> str:
    if not Path(config.state, SITE_KEY).exists():
        return f"{config.state} is no state folder yet; watch makes it one"
    state = open_state(Path(config.state))
    reserve = Reserve(state.root, percent=config.reserve_percent, at_most_bytes=config.reserve_bytes)
    shortage = reserve.shortage()
    if shortage is not None:
        raise StateError(f"{shortage}; free some, or choose another --state")
    return f"{state.root} on {filesystem_of(state.root)}, {shutil.disk_usage(state.root).free / 1e9:.0f} GB free"


def _incoming(incoming: Path, config: Config) -> str:
    if not os.access(incoming, os.R_OK | os.X_OK) or not incoming.is_dir():
        raise Unopenable(f"{incoming} cannot be read; check that it is a folder, is mounted, and its permissions")
    if config.after != "keep" and not os.access(incoming, os.W_OK):
        raise Unopenable(
            f"{incoming} cannot be written in, so no input can be moved or deleted; let the box write there"
        )
    return f"{incoming} on {mode(incoming, config.watching)}"


def _bundle(config: Config) -> str:
    bundle = open_configured(config)
    return f"{bundle.manifest.name} {bundle.id[:12]}, {', '.join(bundle.manifest.precisions)}, every digest matches"


def _decode_worker(config: Config) -> str:
    """Without a part of its sandbox all is well, unless it is required; but somebody should know."""
    bundle = open_configured(config)
    with open_decoder(config, bundle, bytes(SITE_KEY_BYTES)) as decoder:
        decoder.start()
        if decoder.missing:
            lacking = ", ".join(decoder.missing)
            return f"degraded: this kernel lacks {lacking} to confine it; run one with Landlock and seccomp"
    return f"confined by {', '.join(Layer)}"


def _gpu(config: Config) -> str:
    """Without a GPU all is well, unless one was asked for by name. A missing plan is built while the box serves."""
    if config.backend == "openvino":
        return "not asked for"
    bundle = open_configured(config)
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
