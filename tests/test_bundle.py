"""A bundle is opened only when every part of it is what it should be; all else is refused with what to do."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx.external_data_helper import set_external_data
from tiny_bundle import PROVEN, tiny_network, write_manifest, write_tiny_bundle

from edge.bundle import PACKAGED_FOLDER, PACKAGED_IDS, open_bundle, read_bundle, sign_bundle
from edge.engines import open_engine
from edge.errors import BundleError, EngineError
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.known_answer import known_answers
from edge.reference_levels import Levels
from edge.signature import public_key_of

SMALLER = Preprocessing(side=512)
LEVELS = {"edges": [0.5], "shares": [0.5, 0.5], "count": 100}


class Pickled:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "tiny")


def test_a_good_bundle_opens(folder: Path) -> None:
    bundle = open_bundle(str(folder))
    assert bundle.id == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert bundle.model_bytes("fp32") == (folder / "model.fp32.onnx").read_bytes()
    reference = bundle.reference()
    assert reference.embeddings.shape == (8, 128)
    assert set(reference.labels) == {"covid", "other"}
    assert [case.name for case in bundle.golden_cases()] == ["golden/a.dcm"]
    assert bundle.manifest.drift == {}  # an older bundle tells of none


def test_the_levels_for_drift_are_those_of_the_manifest(folder: Path) -> None:
    write_manifest(folder, drift={"score": LEVELS})
    assert open_bundle(str(folder)).manifest.drift == {"score": Levels((0.5,), (0.5, 0.5), 100)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "edge-cxr/bundle/2"}, "is not of format edge-cxr/bundle/1"),
        ({"format": "edge-cxr/bundle/0"}, "is not of format edge-cxr/bundle/1"),
        ({"format": None}, "is not of format edge-cxr/bundle/1"),
        ({"accuracy": {"int8": {"passed": True, "failures": []}}}, "accuracy names 'int8', which is not held"),
        ({"accuracy": {"fp32": {"passed": 1, "failures": []}}}, "the accuracy of fp32 must tell passed"),
        ({"accuracy": {"fp32": {"passed": False, "failures": "AUC"}}}, "the accuracy of fp32 must tell passed"),
        ({"accuracy": {"fp32": {"passed": False, "failures": [0.01]}}}, "the accuracy of fp32 must tell passed"),
        ({"accuracy": {"fp32": {"failures": []}}}, r"is incomplete or damaged \('passed'\)"),
        ({"accuracy": ["fp32"]}, "is incomplete or damaged"),
        ({"preprocessing_digest": "0" * 64}, "needs preprocessing 000000000000"),
        ({"labels": ["other"]}, "is incomplete or damaged"),
        ({"preprocessing": {"side": 1024, "colour": True}}, "is incomplete or damaged"),
        ({"files": ["model.fp32.onnx"]}, "is incomplete or damaged"),
        ({"temperatures": None}, "is incomplete or damaged"),
        ({"temperatures": {"fp32": 0.0}}, "a temperature must be within 0.05 and 20.0; it is 0.0"),
        ({"temperatures": {"fp32": "warm"}}, "is incomplete or damaged"),
        ({"temperatures": {"fp32": True}}, "True is no number"),
        ({"temperatures": {"fp32": float("nan")}}, "nan is no number"),
        ({"temperatures": {"fp32": 2.0}}, r"temperatures of \['fp32'\], and calibration of \[\]"),
        ({"calibration": PROVEN}, r"temperatures of \[\], and calibration of \['fp32'\]"),
        (
            {"temperatures": {"fp32": 2.0}, "calibration": {"fp32": {**PROVEN["fp32"], "ece_high": 0.031}}},
            "an expected calibration error of at most 0.03",
        ),
        (
            {"temperatures": {"fp32": 2.0}, "calibration": {"fp32": {**PROVEN["fp32"], "radiographs": 299}}},
            "told are 299, 0.01 and 0.02",
        ),
        ({"precisions": []}, r"is incomplete or damaged \(precisions are \[\]\)"),
        ({"precisions": ["auto"]}, "is incomplete or damaged"),
        ({"precisions": ["int8"]}, r"is incomplete or damaged .*model\.int8\.onnx"),
        ({"embedding_member": "resnet50"}, "embedding member 'resnet50' is no member"),
        ({"drift": {"score": {**LEVELS, "count": 99}}}, "levels are of 99 radiographs; at least 100 are needed"),
        ({"drift": {"score": {**LEVELS, "edges": [0.5, 0.5]}}}, "they must rise"),
        ({"drift": {"score": {**LEVELS, "shares": [0.5, "0.5"]}}}, "'0.5' is no number"),
        ({"drift": {"score": {"edges": [0.5]}}}, r"is incomplete or damaged \('shares'\)"),
        ({"drift": ["score"]}, "is incomplete or damaged"),
        ({"drift": None}, "is incomplete or damaged"),
        ({"operating_points": {"fp32": "high"}}, "is incomplete or damaged"),
        ({"operating_points": {"fp32": "0.5"}}, "'0.5' is no number"),
        ({"operating_points": {"fp32": True}}, "True is no number"),
        ({"operating_points": {"fp32": float("nan")}}, "nan is no number"),
        ({"operating_points": {"fp32": 1.5}}, "1.5 is not within 0 and 1"),
        ({"operating_points": {"fp32": -0.1}}, "-0.1 is not within 0 and 1"),
        ({"members": "tiny", "embedding_member": "t"}, "members are 'tiny'"),
        ({"members": ["tiny", "tiny"]}, r"members are \['tiny', 'tiny'\]"),
        ({"labels": "ab"}, "labels are 'ab'"),
        ({"gates": {"lung_fraction": {"low": False, "high": 1.0, "margin": 0.0}}}, "False is no number"),
        ({"gates": {"lung_fraction": {"low": 0.0, "high": float("inf"), "margin": 0.0}}}, "inf is no number"),
        ({"gates": {"lung_fraction": {"low": None, "high": 1.0, "margin": 0.0}}}, "is incomplete or damaged"),
        (
            {"preprocessing": asdict(SMALLER), "preprocessing_digest": SMALLER.digest},
            "wants inputs of 512 pixels, this version makes 1024",
        ),
    ],
)
def test_a_manifest_made_for_something_else_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    write_manifest(folder, **changes)
    with pytest.raises(BundleError, match=message):
        read_bundle(folder)


def test_a_manifest_that_lacks_a_key_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["gates"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"is incomplete or damaged .*gates"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff{}", '{"format": "edge-cxr/bundle/1"}'.encode("utf-16"), b"[" * 100_000],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json is (incomplete or damaged|not of format)"):
        read_bundle(folder)


@pytest.mark.parametrize("level", ["top", "files"])
def test_a_key_that_stands_twice_is_refused(folder: Path, level: str) -> None:
    text = (folder / "manifest.json").read_text()
    if level == "top":
        text = text.replace('"name":', '"role": "site",\n "name":')
    else:
        text = text.replace('"files": {', f'"files": {{"MODEL_CARD.md": "{"0" * 64}",')
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"key '(role|MODEL_CARD\.md)' stands there twice"):
        read_bundle(folder)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused_wherever_it_stands(folder: Path, text: str) -> None:
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"metrics": {}', f'"metrics": {{"test": {{"n": {text}}}}}'))
    with pytest.raises(BundleError, match=r"manifest\.json is incomplete or damaged \((nan|-?inf) is no number\)"):
        read_bundle(folder)


def test_the_outcome_of_the_accuracy_gate_is_kept_whole(folder: Path) -> None:
    assert read_bundle(folder).manifest.accuracy == {}
    outcome = {"fp32": {"passed": False, "failures": ["AUC fell by 0.02"], "auc_loss": 0.02}}
    write_manifest(folder, accuracy=outcome)
    assert read_bundle(folder).manifest.accuracy == outcome


def test_a_pickle_in_the_reference_is_not_run(folder: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **{**arrays, "labels": np.array([Pickled(tmp_path / "run")] * 8, object)})
    write_manifest(folder)
    with pytest.raises(BundleError, match=r"reference\.npz is incomplete or damaged"):
        open_bundle(str(folder))
    assert not (tmp_path / "run").exists()


def test_weights_outside_the_model_are_refused(folder: Path) -> None:
    """OpenVINO would read them from anywhere on the disk, though no digest covers them."""
    model = tiny_network()
    (projection,) = [tensor for tensor in model.graph.initializer if tensor.name == "projection"]
    (folder.parent / "weights.bin").write_bytes(projection.raw_data)
    set_external_data(projection, location=str(folder.parent / "weights.bin"))
    projection.ClearField("raw_data")
    (folder / "model.fp32.onnx").write_bytes(model.SerializeToString())
    write_manifest(folder)
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx keeps weights in other files"):
        open_bundle(str(folder))


def test_only_what_verifies_is_signed(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    signed = sign_bundle(folder, key)
    assert signed == open_bundle(str(folder), trusted_keys=(public_key_of(key),))
    assert signed.signed_by == public_key_of(key)
    line = (folder / "manifest.sig").read_bytes()
    (folder / "reference.npz").write_bytes(b"another")
    with pytest.raises(BundleError, match="does not match its digest"):
        sign_bundle(folder, Ed25519PrivateKey.generate())
    write_manifest(folder)
    with pytest.raises(BundleError, match=r"reference\.npz is incomplete or damaged"):
        sign_bundle(folder, Ed25519PrivateKey.generate())
    assert (folder / "manifest.sig").read_bytes() == line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reference.npz", b"PK\x03\x04 and no more"),
        ("reference.npz", b"no archive"),
        ("reference.npz", b""),
        ("golden/expected.json", b"{"),
        ("golden/expected.json", b'{"cases": [{"file": "golden/a.dcm", "precisions": {"fp32": {"score": 0.5}}}]}'),
        ("golden/expected.json", b'{"cases": [{"file": "golden/b.dcm", "precisions": {}}]}'),
        ("golden/expected.json", b'{"cases": []}'),
        ("golden/expected.json", b'{"cases": [{"file": "golden/a.dcm", "precisions": {}}]}'),
        (
            "golden/expected.json",
            b'{"cases": [{"file": "golden/a.dcm", "precisions": {"fp32": {"score": "0.5", "lung_fraction": 0}}}]}',
        ),
    ],
)
def test_a_part_that_cannot_be_parsed_says_so_when_the_bundle_is_opened(
    folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    write_manifest(folder)
    with pytest.raises(BundleError, match=f"{name} is incomplete or damaged"):
        open_bundle(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": np.zeros((8, 64), np.float32)}, r"embeddings are \[8, 64\]"),
        ({"embeddings": np.zeros(8, np.float32)}, r"embeddings are \[8\]"),
        ({"embeddings": np.full((8, 128), np.nan, np.float32)}, "an embedding is not finite"),
        ({"labels": np.array(["covid"] * 3)}, r"'labels': \(3,\)"),
        ({"case_ids": np.array([["0"] * 8])}, r"'case_ids': \(1, 8\)"),
        ({"origins": np.array("phantom:1:covid")}, r"'origins': \(\)"),
        ({"scores": np.zeros(9, np.float32)}, r"'scores': \(9,\)"),
        ({"scores": np.full(8, np.nan, np.float32)}, "a score not within 0 and 1"),
        ({"scores": np.full(8, 1.5, np.float32)}, "a score not within 0 and 1"),
        ({"patients": np.array(["a" * 64] * 7)}, "patients are no 8 keys of 64 hexadecimal digits"),
        ({"patients": np.array(["a" * 64] * 7 + ["A" * 64])}, "patients are no 8 keys"),
        ({"patients": np.array([""] * 7 + ["DOE^JANE"])}, "patients are no 8 keys"),
        ({"patients": np.array([["a" * 64]] * 8)}, "patients are no 8 keys"),
        ({"patients": np.zeros(8)}, "patients are no 8 keys"),
    ],
)
def test_a_reference_of_other_shapes_or_numbers_is_refused(
    folder: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **{**arrays, **changes})
    write_manifest(folder)
    with pytest.raises(BundleError, match=rf"reference\.npz is incomplete or damaged .*{message}"):
        open_bundle(str(folder))


def test_patients_of_reference_cases_are_their_keys_and_older_bundles_have_none(folder: Path) -> None:
    assert open_bundle(str(folder)).reference().patients == ("",) * 8
    patients = ("a" * 64, "", *["0123456789abcdef" * 4] * 6)
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **{**arrays, "patients": np.array(patients)})
    write_manifest(folder)
    reference = open_bundle(str(folder)).reference()
    assert reference.patients == patients
    assert "a" * 64 not in repr(reference)


def test_a_limit_of_the_distance_to_no_case_at_all_is_refused(folder: Path) -> None:
    arrays = dict(np.load(folder / "reference.npz"))
    np.savez(folder / "reference.npz", **{name: values[:0] for name, values in arrays.items()})
    write_manifest(folder)
    open_bundle(str(folder))
    lungs = {"lung_fraction": {"low": 0.0, "high": 1.0, "margin": 0.0}}
    write_manifest(folder, gates={**lungs, "distance": {"low": 0.0, "high": 9.0, "margin": 0.0}})
    with pytest.raises(BundleError, match="the bundle holds none; export it again"):
        open_bundle(str(folder))


def test_a_reference_whose_compressed_bytes_are_damaged_is_refused(folder: Path) -> None:
    np.savez_compressed(folder / "reference.npz", **dict(np.load(folder / "reference.npz")))
    damaged = bytearray((folder / "reference.npz").read_bytes())
    damaged[60:90] = b"\xff" * 30
    (folder / "reference.npz").write_bytes(damaged)
    write_manifest(folder)
    with pytest.raises(BundleError, match=r"reference\.npz is incomplete or damaged"):
        open_bundle(str(folder))


def test_a_precision_without_a_golden_case_is_refused(folder: Path) -> None:
    expected = json.loads((folder / "golden/expected.json").read_text())
    del expected["cases"][0]["precisions"]["fp16"]
    (folder / "golden/expected.json").write_text(json.dumps(expected))
    shutil.copyfile(folder / "model.fp32.onnx", folder / "model.fp16.onnx")
    write_manifest(folder, precisions=["fp32", "fp16"])
    with pytest.raises(BundleError, match=r"expected\.json is incomplete or damaged .*no case tells what fp16 answers"):
        open_bundle(str(folder))


def test_a_bundle_of_which_nothing_passed_its_gate_is_no_use_but_is_still_read(folder: Path) -> None:
    shutil.copyfile(folder / "model.fp32.onnx", folder / "model.fp16.onnx")
    failed = {"passed": False, "failures": ["AUC fell by 0.02"]}
    write_manifest(folder, precisions=["fp32", "fp16"], accuracy={"fp32": failed})
    open_bundle(str(folder))
    write_manifest(folder, precisions=["fp32", "fp16"], accuracy={"fp32": failed, "fp16": failed})
    with pytest.raises(BundleError, match=r"in no precision \(fp16: AUC fell by 0\.02; fp32: .*use another bundle"):
        open_bundle(str(folder))
    assert read_bundle(folder).manifest.accuracy.keys() == {"fp32", "fp16"}


@pytest.mark.parametrize("name", ["reference.npz", "golden/expected.json"])
def test_a_bundle_without_its_reference_or_golden_cases_is_not_opened(folder: Path, name: str) -> None:
    (folder / name).unlink()
    write_manifest(folder)
    with pytest.raises(BundleError, match=f"{name} is incomplete or damaged"):
        open_bundle(str(folder))


def test_no_folder_and_no_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no folder; name one, or a packaged bundle: phantom, research"):
        open_bundle(str(tmp_path / "nothing"))
    with pytest.raises(BundleError, match=r"manifest\.json is missing; copy the whole bundle again"):
        open_bundle(str(tmp_path))


def test_packaged_bundles_need_no_signature_by_name_but_do_by_folder() -> None:
    keys = (public_key_of(Ed25519PrivateKey.generate()),)
    assert open_bundle("phantom", trusted_keys=keys).id == PACKAGED_IDS["phantom"]
    with pytest.raises(BundleError, match=r"has no manifest\.sig"):
        open_bundle(str(PACKAGED_FOLDER / "phantom"), trusted_keys=keys)


@pytest.mark.parametrize("name", sorted(PACKAGED_IDS))
def test_packaged_bundles_open_and_answer_as_they_promise(name: str) -> None:
    """The pinned id, every digest, and the golden cases in every precision held."""
    bundle = open_bundle(name)
    for precision in bundle.manifest.precisions:
        engine = open_engine(bundle, precision=precision)
        with Decoder(bundle.manifest.preprocessing, site_key=bytes(32)) as decoder:
            answers = known_answers(bundle, engine, decoder)
        engine.close()
        assert len(answers) >= 3
    headers = [case.content for case in bundle.golden_cases()]
    assert any(b"MONOCHROME1" in content for content in headers)
    assert any(b"MONOCHROME2" in content for content in headers)


def test_the_research_bundle_promises_no_more_than_it_holds() -> None:
    manifest = open_bundle("research").manifest
    assert manifest.role == "demonstration"
    assert manifest.operating_points == dict.fromkeys(manifest.precisions)
    size_bytes = sum(path.stat().st_size for path in (PACKAGED_FOLDER / "research").rglob("*") if path.is_file())
    assert size_bytes <= 30_000_000
    card = open_bundle("research").files["MODEL_CARD.md"].decode()
    assert "test_eurorad" in card.splitlines()[0] or "Eurorad" in card.splitlines()[0]


def test_another_answer_than_the_golden_one_is_an_engine_fault(folder: Path) -> None:
    expected = json.loads((folder / "golden/expected.json").read_text())
    expected["cases"][0]["precisions"]["fp32"]["score"] += 0.02  # twice the tolerance of fp32
    (folder / "golden/expected.json").write_text(json.dumps(expected))
    write_manifest(folder)
    bundle = read_bundle(folder)
    engine = open_engine(bundle)
    with (
        Decoder(bundle.manifest.preprocessing, site_key=bytes(32)) as decoder,
        pytest.raises(EngineError, match=r"known-answer test failed: golden/a\.dcm gives score"),
    ):
        known_answers(bundle, engine, decoder)
