"""The plans a box keeps: each under the key of all that it depends on, with a record and a seal: who built it.

`<digest of the key>.plan`, `.json` (the record) and `.seal`, over a mark and the record's exact bytes: an HMAC with the
site key ("built here"), or the Ed25519 signature of a trusted key ("built ahead of time"). Nothing else is ever handed
to a runtime. Building is export/plan.py's work.
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.engines.base import INPUT_SIDE, MAX_BATCH
from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour
from edge.outputs.durable import TEMPORARY_SUFFIX, disk_error, make_folder, write_durably
from edge.signature import read_signature
from edge.strict_json import read_json

PLAN_FORMAT = "edge-cxr/plan/3"  # counted up when plans are built in another way
BATCHES = (1, 1, MAX_BATCH)  # least, best and most radiographs of the one profile
ONNX, TORCH_TENSORRT = "onnx", "torch-tensorrt"
COMPILERS = (ONNX, TORCH_TENSORRT)  # what made a plan from the network, in the order in which the box asks for them
GRAPHS_KEPT = 4  # of how many graphs, those used last, plans that were built here stay
# Begins all that is sealed: the same keys sign bundles, and a signed manifest must never pass for a plan's record.
MARK = b"edge-cxr/plan\0"
_HERE = b"hmac-sha256:"
_SUFFIXES = (".plan", ".json", ".seal")
_MOST_RECORD_BYTES = 16 * 1024


@dataclass(frozen=True)
class PlanKey:
    """Everything a plan depends on. gpu and driver are empty where a plan runs with any of its compute capability.

    model_sha256: of the bundle's ONNX graph that the plan answers for, also when it was compiled from the torch module.
    """

    model_sha256: str
    precision: str
    flavour: str
    flavour_version: str
    gpu: str
    driver: str
    compute_capability: str
    compiler: str = ONNX
    batches: tuple[int, ...] = BATCHES
    input_shape: tuple[int, ...] = (1, INPUT_SIDE, INPUT_SIDE)
    format: str = PLAN_FORMAT

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def serves_as(self, other: "PlanKey") -> bool:
        """Whether both are by one compiler, for one network on one kind of GPU: the newer takes the older's place."""
        return all(
            getattr(self, part) == getattr(other, part)
            for part in ("model_sha256", "precision", "flavour", "compute_capability", "compiler")
        )


@dataclass(frozen=True)
class Found:
    """The verified bytes of a plan."""

    plan: bytes
    built_here: bool


@dataclass(frozen=True)
class NotFound:
    """Why no plan is to be had, in words."""

    reason: str


@dataclass(frozen=True)
class _Record:
    key: PlanKey
    sha256: str
    size_bytes: int
    built_here: bool


def plan_key(model: bytes, precision: str, flavour: Flavour, gpu: Gpu, *, compiler: str = ONNX) -> PlanKey:
    """The key of the plan of an ONNX graph for a GPU."""
    return PlanKey(
        model_sha256=hashlib.sha256(model).hexdigest(),
        precision=precision,
        flavour=flavour.name,
        flavour_version=flavour.version,
        gpu="" if flavour.portable else gpu.name,
        driver="" if flavour.portable else gpu.driver,
        compute_capability=gpu.compute_capability,
        compiler=compiler,
    )


def record_of(key: PlanKey, plan: bytes) -> bytes:
    """What is to be sealed: the record behind MARK, which the record's file does not hold."""
    built = datetime.now(UTC).isoformat(timespec="seconds")
    listed = {"key": asdict(key), "sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan), "built": built}
    return MARK + json.dumps(listed, indent=1, sort_keys=True).encode()


def write_plan(folder: Path, key: PlanKey, plan: bytes, record: bytes, seal: bytes) -> None:
    """The seal comes last: without it nothing counts. Raises StateError when the disk fails."""
    for suffix, content in zip(_SUFFIXES, (plan, record.removeprefix(MARK), seal), strict=True):
        write_durably(folder / f"{key.digest}{suffix}", content)


class PlanStore:
    """The folder `plans` of a state folder. site_key: this box's secret. trusted_keys: as ed25519:<base64>."""

    def __init__(self, folder: Path, *, site_key: bytes, trusted_keys: tuple[str, ...] = ()) -> None:
        self.folder = folder
        # A key of its own: what the site key says of identifiers must never pass for a seal.
        self._seal_key = hmac.digest(site_key, b"edge-cxr plan seal", "sha256")
        self._trusted_keys = trusted_keys

    def find(self, key: PlanKey) -> Found | NotFound:
        """The plan of a key, its digest verified over the very bytes returned."""
        record = self._read_record(self.folder / f"{key.digest}.json")
        if isinstance(record, NotFound):
            return NotFound(self._stale(key) or record.reason)
        if record.key != key:
            return NotFound("the plan kept under this key says that it is another's")
        try:
            plan = (self.folder / f"{key.digest}.plan").read_bytes()
        except OSError as fault:
            return NotFound(f"the plan cannot be read ({fault.strerror})")
        if len(plan) != record.size_bytes:
            return NotFound(f"the plan has {len(plan)} bytes instead of {record.size_bytes}")
        if hashlib.sha256(plan).hexdigest() != record.sha256:
            return NotFound("the plan does not match its digest")
        with contextlib.suppress(OSError):  # another user's command may read here and not write
            os.utime(self.folder / f"{key.digest}.seal")  # used now
        return Found(plan, record.built_here)

    def keep(self, key: PlanKey, plan: bytes) -> None:
        """Keep a plan that was built here, in place of older ones and of those long unused; one process at a time.

        Raises StateError when the disk fails.
        """
        record = record_of(key, plan)
        with _alone(self.folder):
            write_plan(self.folder, key, plan, record, self._seal(record))
            self._prune(key)

    def _prune(self, key: PlanKey) -> None:
        """Remove what a key's new plan replaces, what a crash left half written, and plans that can be built again."""
        for suffix in _SUFFIXES:
            for half in self.folder.glob(f".*{suffix}{TEMPORARY_SUFFIX}"):
                half.unlink()
        records = list(self._records())
        used_ns: dict[str, int] = {}
        for path, record in records:
            graph = record.key.model_sha256
            used_ns[graph] = max(used_ns.get(graph, 0), path.with_suffix(".seal").stat().st_mtime_ns)
        graphs = {key.model_sha256, *sorted(used_ns, key=used_ns.__getitem__)[-GRAPHS_KEPT:]}
        for path, record in records:
            unused = record.built_here and record.key.model_sha256 not in graphs
            if unused or (record.key != key and record.key.serves_as(key)):
                for suffix in reversed(_SUFFIXES):
                    path.with_suffix(suffix).unlink(missing_ok=True)

    def _records(self) -> Iterator[tuple[Path, _Record]]:
        """Every record whose seal holds."""
        for path in sorted(self.folder.glob("*.json")):
            record = self._read_record(path)
            if isinstance(record, _Record):
                yield path, record

    def _read_record(self, path: Path) -> _Record | NotFound:
        try:
            content, seal = (_read(path.with_suffix(suffix)) for suffix in (".json", ".seal"))
        except FileNotFoundError:
            return NotFound("no plan is kept")
        except OSError as fault:
            return NotFound(f"the plan's record cannot be read ({fault.strerror})")
        built_here = hmac.compare_digest(seal, self._seal(MARK + content))
        if not built_here and not self._signed(MARK + content, seal):
            return NotFound("the plan was built by another box and signed by no trusted key, or its record was changed")
        try:
            return _record(read_json(content), built_here=built_here)
        except (ValueError, KeyError, TypeError, AttributeError):
            return NotFound("the plan's record is of another format")

    def _seal(self, record: bytes) -> bytes:
        return _HERE + hmac.digest(self._seal_key, record, "sha256").hex().encode()

    def _signed(self, record: bytes, seal: bytes) -> bool:
        with contextlib.suppress(ValueError):
            signature = read_signature(seal)
            return signature.signer in self._trusted_keys and signature.fits(record)
        return False

    def _stale(self, key: PlanKey) -> str | None:
        """How a plan of the same network by the same compiler that is kept differs."""
        for path, kept in self._records():
            if all(getattr(kept.key, part) == getattr(key, part) for part in ("model_sha256", "precision", "compiler")):
                parts = [part for part in asdict(key) if getattr(kept.key, part) != getattr(key, part)]
                if not parts:
                    return f"the plan is kept under another name ({path.stem}); name its files {key.digest}"
                told = [f"{part} {getattr(kept.key, part)}, not {getattr(key, part)}" for part in parts]
                return f"the plan kept was built for {'; '.join(told)}"
        return None


def _read(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(_MOST_RECORD_BYTES)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; the lock goes with the process, however it ends. Raises StateError."""
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as fault:
        raise disk_error(folder, fault) from None


def _record(listed: dict[str, Any], *, built_here: bool) -> _Record:
    """Raises ValueError for a record with other keys than its own."""
    key = listed["key"]
    if listed.keys() != {"key", "sha256", "bytes", "built"} or key.keys() != {part.name for part in fields(PlanKey)}:
        raise ValueError("no plan's record")
    lists = {part: tuple(key[part]) for part in ("batches", "input_shape")}
    return _Record(PlanKey(**{**key, **lists}), listed["sha256"], listed["bytes"], built_here)
