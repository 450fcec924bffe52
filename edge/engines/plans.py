"""The plans a box keeps: each under the key of all that it depends on, with a record and a seal: who built it.

`<digest of the key>.plan`, `.json` (the record) and `.seal`, which is over the record's exact bytes: an HMAC with the
site key ("built here"), or the Ed25519 signature of a trusted key ("built ahead of time"). Nothing else is ever handed
to a runtime. Building is export/plan.py's work.
"""

import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.engines.base import INPUT_SIDE, MAX_BATCH
from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour
from edge.outputs.durable import write_durably
from edge.signature import read_signature

PLAN_FORMAT = "edge-cxr/plan/2"  # counted up when plans are built in another way
BATCHES = (1, 1, MAX_BATCH)  # least, best and most radiographs of the one profile
ONNX, TORCH_TENSORRT = "onnx", "torch-tensorrt"
COMPILERS = (ONNX, TORCH_TENSORRT)  # what made a plan from the network, in the order in which the box asks for them
_HERE = b"hmac-sha256:"
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
    """The record to be sealed."""
    built = datetime.now(UTC).isoformat(timespec="seconds")
    listed = {"key": asdict(key), "sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan), "built": built}
    return json.dumps(listed, indent=1, sort_keys=True).encode()


def write_plan(folder: Path, key: PlanKey, plan: bytes, record: bytes, seal: bytes) -> None:
    """The seal comes last: without it nothing counts. Raises StateError when the disk fails."""
    for suffix, content in ((".plan", plan), (".json", record), (".seal", seal)):
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
        return Found(plan, record.built_here)

    def keep(self, key: PlanKey, plan: bytes) -> None:
        """Keep a plan that was built here, in place of older ones. Raises StateError when the disk fails."""
        record = record_of(key, plan)
        write_plan(self.folder, key, plan, record, self._seal(record))
        for path, older in list(self._records()):
            if older.key != key and older.key.serves_as(key):
                for suffix in (".seal", ".json", ".plan"):
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
        built_here = hmac.compare_digest(seal, self._seal(content))
        if not built_here and not self._signed(content, seal):
            return NotFound("the plan was built by another box and signed by no trusted key, or its record was changed")
        try:
            listed = json.loads(content)
            return _Record(_key(listed["key"]), listed["sha256"], listed["bytes"], built_here)
        except (ValueError, KeyError, TypeError):
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
        for _, kept in self._records():
            if all(getattr(kept.key, part) == getattr(key, part) for part in ("model_sha256", "precision", "compiler")):
                parts = [part for part in asdict(key) if getattr(kept.key, part) != getattr(key, part)]
                told = [f"{part} {getattr(kept.key, part)}, not {getattr(key, part)}" for part in parts]
                return f"the plan kept was built for {'; '.join(told)}"
        return None


def _read(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(_MOST_RECORD_BYTES)


def _key(listed: dict[str, Any]) -> PlanKey:
    lists = {part: tuple(listed[part]) for part in ("batches", "input_shape")}
    return PlanKey(**{**listed, **lists})
