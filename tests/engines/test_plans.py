"""Plans are found only under their whole key, with their digest, and sealed by this box or a trusted key."""

import hmac
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour
from edge.engines.plans import GRAPHS_KEPT, MARK, Found, NotFound, PlanKey, PlanStore, plan_key, record_of, write_plan
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
    others_in = ("model_sha256", "precision", "flavour", "compute_capability", "compiler")
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


RECORD = json.loads(record_of(KEY, PLAN).removeprefix(MARK))


@pytest.mark.parametrize(
    "listed",
    [
        [],
        {},
        {"key": {}},
        {"key": {"gpu": 1}, "sha256": 1, "bytes": 2},
        {**RECORD, "key": []},
        {**RECORD, "format": "edge-cxr/bundle/1"},
        {**RECORD, "key": {**RECORD["key"], "name": "tiny"}},
        {**RECORD, "key": {part: value for part, value in RECORD["key"].items() if part != "compiler"}},
    ],
)
def test_a_record_of_another_format_is_refused(tmp_path: Path, listed: object) -> None:
    signer = Ed25519PrivateKey.generate()
    store = PlanStore(tmp_path, site_key=b"k" * 32, trusted_keys=(public_key_of(signer),))
    record = MARK + json.dumps(listed).encode()
    write_plan(tmp_path, KEY, PLAN, record, sign(record, signer).line)
    assert reason(store.find(KEY)) == "the plan's record is of another format"


def test_a_signature_over_the_bare_record_such_as_bundles_have_is_no_seal(tmp_path: Path) -> None:
    signer = Ed25519PrivateKey.generate()
    store = PlanStore(tmp_path, site_key=b"k" * 32, trusted_keys=(public_key_of(signer),))
    record = record_of(KEY, PLAN)
    write_plan(tmp_path, KEY, PLAN, record, sign(record, signer).line)
    assert isinstance(store.find(KEY), Found)
    path_of(store, ".seal").write_bytes(sign(path_of(store, ".json").read_bytes(), signer).line)
    assert "signed by no trusted key" in reason(store.find(KEY))


def test_a_plan_under_another_name_is_told_apart_from_a_stale_one(store: PlanStore) -> None:
    store.keep(KEY, PLAN)
    for suffix in (".plan", ".json", ".seal"):
        path_of(store, suffix).rename(store.folder / f"backup{suffix}")
    assert reason(store.find(KEY)) == f"the plan is kept under another name (backup); name its files {KEY.digest}"


def graph(number: int) -> PlanKey:
    return replace(KEY, model_sha256=f"{number:064x}")


def test_plans_of_the_graphs_used_last_stay(store: PlanStore) -> None:
    for number in range(GRAPHS_KEPT):
        store.keep(graph(number), PLAN)
    second = replace(graph(0), compute_capability="sm_90")
    store.keep(second, PLAN)
    for number, key in enumerate((second, *map(graph, range(GRAPHS_KEPT)))):
        os.utime(path_of(store, ".seal", key), (number, number))
    assert isinstance(store.find(graph(0)), Found)  # used again
    assert len(list(store.folder.glob("*.plan"))) == GRAPHS_KEPT + 1
    store.keep(graph(9), PLAN)
    kept = {number for number in range(10) if isinstance(store.find(graph(number)), Found)}
    assert kept == {0, *range(2, GRAPHS_KEPT), 9}
    assert isinstance(store.find(second), Found)
    assert not list(store.folder.glob(f"{graph(1).digest}*"))


def test_the_plan_just_built_stays_whatever_the_clock_says(store: PlanStore) -> None:
    for number in range(GRAPHS_KEPT):
        store.keep(graph(number), PLAN)
        os.utime(path_of(store, ".seal", graph(number)), (2**33, 2**33))
    store.keep(KEY, PLAN)
    assert isinstance(store.find(KEY), Found)


def test_plans_signed_ahead_of_time_wait_for_their_use(tmp_path: Path) -> None:
    signer = Ed25519PrivateKey.generate()
    store = PlanStore(tmp_path, site_key=b"k" * 32, trusted_keys=(public_key_of(signer),))
    record = record_of(KEY, PLAN)
    write_plan(tmp_path, KEY, PLAN, record, sign(record, signer).line)
    os.utime(path_of(store, ".seal"), (0, 0))
    for number in range(GRAPHS_KEPT + 1):
        store.keep(graph(number), PLAN)
    assert store.find(KEY) == Found(PLAN, built_here=False)


def test_what_a_crash_left_half_written_is_removed_and_nothing_else(store: PlanStore) -> None:
    store.folder.mkdir()
    halves = [store.folder / f".{graph(1).digest}{suffix}.part" for suffix in (".plan", ".json", ".seal")]
    other = store.folder / ".timing.cache.part"  # somebody may be writing it
    for path in (*halves, other):
        path.write_bytes(b"half")
    store.keep(KEY, PLAN)
    assert not any(path.exists() for path in halves)
    assert other.exists()


KEEP = """
import sys
from pathlib import Path
from edge.engines.plans import PlanKey, PlanStore
store = PlanStore(Path(sys.argv[1]), site_key=b"k" * 32)
sys.stdin.read()
for _ in range(20):
    store.keep(PlanKey(*sys.argv[3:]), sys.argv[2].encode() * 1_000_000)
"""


def test_two_processes_that_keep_the_same_plan_do_not_destroy_each_other(store: PlanStore) -> None:
    key = ("a" * 64, "int8", "tensorrt", "11.4", "NVIDIA L4", "580.65", "sm_89")
    commands = [[sys.executable, "-c", KEEP, str(store.folder), letter, *key] for letter in "xy"]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        assert process.stdin is not None
        process.stdin.close()  # both begin
    for process in running:
        assert process.stderr is not None
        with process.stderr as told:
            assert (process.wait(60), told.read()) == (0, b"")
    found = store.find(KEY)
    assert isinstance(found, Found)
    assert len(set(found.plan)) == 1


def test_the_key_of_a_portable_plan_names_no_gpu() -> None:
    gpu = Gpu("NVIDIA L4", "580.65", "sm_89")
    standard = plan_key(b"graph", "int8", Flavour("tensorrt", "11.4", None), gpu)
    portable = plan_key(b"graph", "int8", Flavour("tensorrt-rtx", "1.7", None), gpu)
    assert (standard.gpu, standard.driver) == ("NVIDIA L4", "580.65")
    assert portable == plan_key(b"graph", "int8", Flavour("tensorrt-rtx", "1.7", None), Gpu("", "", "sm_89"))
    assert plan_key(b"another", "int8", Flavour("tensorrt", "11.4", None), gpu).digest != standard.digest
