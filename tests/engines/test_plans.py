"""Plans are found only under their whole key, with their digest, and sealed by this box or a trusted key."""

import hmac
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour
from edge.engines.plans import Found, NotFound, PlanKey, PlanStore, plan_key, record_of, write_plan
from edge.errors import StateError
from edge.signature import public_key_of, sign

KEY = PlanKey("a" * 64, "int8", "tensorrt", "11.4", "NVIDIA L4", "580.65", "sm_89")
CHANGED = {
    "model_sha256": "b" * 64,
    "precision": "fp16",
    "flavour": "tensorrt-rtx",
    "flavour_version": "11.5",
    "gpu": "NVIDIA L40",
    "driver": "590.1",
    "compute_capability": "sm_90",
    "batches": (1, 4, 8),
    "input_shape": (1, 512, 512),
    "compiler": "torch-tensorrt",
    "format": "edge-cxr/plan/1",
}
PLAN = bytes(range(256)) * 100


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / "plans", site_key=b"k" * 32)


def reason(found: Found | NotFound) -> str:
    assert isinstance(found, NotFound)
    return found.reason


def path_of(store: PlanStore, suffix: str, key: PlanKey = KEY) -> Path:
    return store.folder / f"{key.digest}{suffix}"


def test_what_was_kept_is_found_with_the_same_bytes(store: PlanStore) -> None:
    assert reason(store.find(KEY)) == "no plan is kept"
    store.keep(KEY, PLAN)
    assert store.find(KEY) == Found(PLAN, built_here=True)
    record = json.loads(path_of(store, ".json").read_bytes())
    assert {part.name for part in fields(PlanKey)} == record["key"].keys()
    assert record["bytes"] == len(PLAN)


@pytest.mark.parametrize("part", [part.name for part in fields(PlanKey)])
def test_a_plan_is_stale_when_any_part_of_its_key_changes(store: PlanStore, part: str) -> None:
    store.keep(KEY, PLAN)
    changed = replace(KEY, **{part: CHANGED[part]})
    assert changed.digest != KEY.digest
    told = reason(store.find(changed))
    if part not in ("model_sha256", "precision", "compiler"):
        assert told == f"the plan kept was built for {part} {getattr(KEY, part)}, not {CHANGED[part]}"
    # Nor under a name that is forged.
    for suffix in (".plan", ".json", ".seal"):
        shutil.copy(path_of(store, suffix), path_of(store, suffix, changed))
    assert reason(store.find(changed)) == "the plan kept under this key says that it is another's"


@pytest.mark.parametrize("suffix", [".plan", ".json", ".seal"])
def test_every_changed_byte_is_refused(store: PlanStore, suffix: str) -> None:
    store.keep(KEY, PLAN)
    file = path_of(store, suffix)
    content = file.read_bytes()
    for position in {*range(0, len(content), max(1, len(content) // 100)), len(content) - 1}:
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert isinstance(store.find(KEY), NotFound), position
    file.write_bytes(content)
    assert isinstance(store.find(KEY), Found)


@pytest.mark.parametrize("suffix", [".plan", ".json", ".seal"])
@pytest.mark.parametrize("left", [0, 1, -1])
def test_truncated_files_are_refused(store: PlanStore, suffix: str, left: int) -> None:
    store.keep(KEY, PLAN)
    file = path_of(store, suffix)
    file.write_bytes(file.read_bytes()[:left])
    assert isinstance(store.find(KEY), NotFound)
    file.unlink()
    assert isinstance(store.find(KEY), NotFound)


def test_what_another_box_built_is_refused(store: PlanStore) -> None:
    store.keep(KEY, PLAN)
    other = PlanStore(store.folder, site_key=b"j" * 32)
    assert "built by another box" in reason(other.find(KEY))


def test_the_site_key_seals_plans_and_nothing_else(store: PlanStore) -> None:
    """An HMAC with the site key itself, as identifiers get, is no seal."""
    record = record_of(KEY, PLAN)
    seal = b"hmac-sha256:" + hmac.digest(b"k" * 32, record, "sha256").hex().encode()
    write_plan(store.folder, KEY, PLAN, record, seal)
    assert isinstance(store.find(KEY), NotFound)


def test_a_plan_signed_ahead_of_time_is_found_where_its_key_is_trusted(tmp_path: Path) -> None:
    signer, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    record = record_of(KEY, PLAN)
    write_plan(tmp_path, KEY, PLAN, record, sign(record, signer).line)

    def found(*trusted: Ed25519PrivateKey) -> Found | NotFound:
        keys = tuple(public_key_of(key) for key in trusted)
        return PlanStore(tmp_path, site_key=b"k" * 32, trusted_keys=keys).find(KEY)

    assert found(other, signer) == Found(PLAN, built_here=False)
    assert "signed by no trusted key" in reason(found(other))
    assert "signed by no trusted key" in reason(found())
    write_plan(tmp_path, KEY, PLAN, record, sign(b"something else", signer).line)
    assert isinstance(found(signer), NotFound)
    write_plan(tmp_path, KEY, b"another plan", record, sign(record, signer).line)
    assert isinstance(found(signer), NotFound)


def test_a_newer_plan_takes_the_place_of_the_older_and_of_no_other(store: PlanStore) -> None:
    others_in = ("model_sha256", "precision", "compute_capability", "compiler")
    others = [replace(KEY, **{part: CHANGED[part]}) for part in others_in]
    newer = replace(KEY, driver="590.1", flavour_version="11.5")
    for key in (KEY, *others, newer):
        store.keep(key, PLAN)
    assert all(isinstance(store.find(key), Found) for key in (*others, newer))
    assert not list(store.folder.glob(f"{KEY.digest}*"))
    store.keep(newer, PLAN[::-1])
    assert store.find(newer) == Found(PLAN[::-1], built_here=True)


def test_without_its_seal_a_plan_does_not_count_and_the_seal_comes_last(store: PlanStore) -> None:
    """A crash between two writes: a folder in the seal's place stands for it."""
    path_of(store, ".seal").mkdir(parents=True)
    with pytest.raises(StateError):
        store.keep(KEY, PLAN)
    assert path_of(store, ".plan").exists()
    assert path_of(store, ".json").exists()
    assert isinstance(store.find(KEY), NotFound)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"key": {}}', b'{"key": {"gpu": 1}, "sha256": 1, "bytes": 2}'])
def test_a_record_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    signer = Ed25519PrivateKey.generate()
    store = PlanStore(tmp_path, site_key=b"k" * 32, trusted_keys=(public_key_of(signer),))
    write_plan(tmp_path, KEY, PLAN, content, sign(content, signer).line)
    assert reason(store.find(KEY)) == "the plan's record is of another format"


def test_the_key_of_a_portable_plan_names_no_gpu() -> None:
    gpu = Gpu("NVIDIA L4", "580.65", "sm_89")
    standard = plan_key(b"graph", "int8", Flavour("tensorrt", "11.4", None), gpu)
    portable = plan_key(b"graph", "int8", Flavour("tensorrt-rtx", "1.7", None), gpu)
    assert (standard.gpu, standard.driver) == ("NVIDIA L4", "580.65")
    assert portable == plan_key(b"graph", "int8", Flavour("tensorrt-rtx", "1.7", None), Gpu("", "", "sm_89"))
    assert plan_key(b"another", "int8", Flavour("tensorrt", "11.4", None), gpu).digest != standard.digest
