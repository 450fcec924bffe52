"""The peers of benchmarks/peers.py at small sizes: they do the work that they are said to do."""

import json
from dataclasses import replace
from pathlib import Path

import click
import mad_decoders
import numpy as np
import pytest
import racing_peers
from click.testing import CliRunner
from pydicom import dcmread, uid
from racing_peers import not_installed, peer

from benchmarks.child import call_apart
from benchmarks.decoder_safety import CUTS, Question, Safety, ask, changed_at_random
from benchmarks.decoding_peers import OURS, decode_with, decoders, decoding_race, missing, open_decoder
from benchmarks.networks import network, with_fp32
from benchmarks.openvino_options import WAITING, open_asked, open_starts
from benchmarks.peers import measure, only, peers
from benchmarks.peers_cpu import RANDOM_WEIGHTS, engine_race, open_bf16, open_compiled, open_engine, write_inputs
from benchmarks.peers_gpu import open_openvino
from benchmarks.peers_report import read_report
from benchmarks.pictures import ENCODERS, SYNTAXES, bits_of, dicom_bytes, frame, stored_values
from benchmarks.preprocessing_peers import (
    open_box,
    open_ours,
    open_pillow,
    open_skimage,
    open_whole,
    preprocessing_race,
)
from benchmarks.race import Race
from benchmarks.resident import Opened, Peer
from benchmarks.subject import Subject, planned
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from edge.errors import BackendUnavailable, EdgeError
from edge.imaging.read import read
from export.fused import Fused
from training.model import ClassifierArchitecture, LungArchitecture

ROWS, COLUMNS = 150, 122
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000)
# What these cannot do at all: libjpeg-turbo's 12 bits need a decoder that is built for them.
CANNOT = {(uid.JPEGExtended12Bit, "pydicom with gdcm"), (uid.JPEGExtended12Bit, "pydicom with pillow")}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_every_decoder_gives_the_picture_that_the_box_gives(syntax: uid.UID, tmp_path: Path) -> None:
    race = decoding_race(syntax, tmp_path, 1, rows=ROWS, columns=COLUMNS)
    bits = bits_of(syntax)
    stored = stored_values(ROWS, COLUMNS, bits=bits)
    assert np.ptp(stored) > 1 << (bits - 1)
    assert [peer.name for peer in race.peers] == list(decoders(syntax))
    assert race.peers[0].name == OURS
    assert len(race.peers) > 1, missing(syntax)
    path = tmp_path / f"{syntax.keyword}.dcm"
    ours = decode_with(OURS, dcmread(path))
    if syntax not in LOSSY:
        np.testing.assert_array_equal(ours, stored)
    for name in decoders(syntax)[1:]:
        if (syntax, name) in CANNOT:
            continue
        opened = open_decoder(name, path)
        theirs = opened.told(opened.call(0))
        assert theirs.shape == ours.shape, name
        assert np.abs(theirs.astype(int) - ours).max() <= (1 if syntax in LOSSY else 0), name


def test_pictures_fill_their_bits_and_name_no_patient() -> None:
    for bits in (8, 12, 16):
        stored = stored_values(ROWS, COLUMNS, bits=bits)
        assert stored.shape == (ROWS, COLUMNS)
        assert stored.max() < 1 << bits and np.ptp(stored) > 1 << (bits - 1)
    assert len(set(SYNTAXES)) == len(SYNTAXES) and set(ENCODERS) < set(SYNTAXES)
    source = read(dicom_bytes(stored, uid.ExplicitVRLittleEndian, bits=16), site_key=bytes(32)).source
    assert source.patient_key is None


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    preprocessing_race(tmp_path, 1, rows=600, columns=500)
    return tmp_path / "radiograph.dcm"


def shown(opened: Opened) -> np.ndarray:
    with opened:
        return opened.told(opened.call(0))


def test_the_box_and_the_pipelines_show_the_same_chest(radiograph: Path) -> None:
    ours = shown(open_ours(radiograph))
    assert np.ptp(ours) > 0.5
    np.testing.assert_array_equal(shown(open_box(radiograph)), ours)
    pipelines = {"pillow": open_pillow}
    try:
        import skimage  # noqa: F401, PLC0415

        pipelines["skimage"] = open_skimage
    except ImportError:
        pass
    for name, open_it in pipelines.items():
        theirs = shown(open_it(radiograph))
        likeness = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
        upside_down = float(np.corrcoef(ours.ravel(), theirs[::-1].ravel())[0, 1])
        assert likeness > 0.9 > upside_down, (name, likeness)


def test_scikit_image_is_there_to_be_compared() -> None:
    pytest.importorskip("skimage", reason="scikit-image is in the extra peers")


def test_the_whole_box_reports_and_leaves_its_engine_out(radiograph: Path) -> None:
    with open_whole(radiograph) as opened:
        report = opened.call(0)
        assert opened.left_out_s(report) == report.timings_s["infer"] > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_engines_run_one_network_in_every_precision(tmp_path: Path) -> None:
    one = network("phantom", tmp_path / "phantom")
    assert one.multiply_adds["fp32"] == one.multiply_adds["int8"] > 1e8
    write_inputs(one.subject)
    race = engine_race(one.subject, 1)
    torch_peers = [peer for peer in race.peers if peer.name.startswith("torch")]
    assert all(RANDOM_WEIGHTS in peer.note and not peer.comparable for peer in torch_peers)
    ours = open_engine(open_openvino, one.subject, "int8")
    answers = [ours.told(ours.call(number)) for number in (0, 1, 2)]
    np.testing.assert_array_equal(answers[0], answers[2])
    assert not np.array_equal(answers[0], answers[1])
    try:
        bf16 = open_engine(open_bf16, one.subject, "bf16")
    except BackendUnavailable as fault:
        pytest.skip(str(fault))
    assert np.abs(bf16.told(bf16.call(0)) - answers[0]).max() < 0.1


def test_however_openvino_is_asked_it_answers_alike(tmp_path: Path) -> None:
    """Two of a batch and two requests in flight; the same radiographs in the same order."""
    one = network("phantom", tmp_path / "phantom")
    write_inputs(one.subject)
    ways = [({}, 1, 1), ({}, 2, 1), ({"PERFORMANCE_HINT": "THROUGHPUT"}, 1, 2)]
    answers = []
    for options, batch, requests in ways:
        opened = open_asked(one.subject, COMPILE_OPTIONS | options, batch, requests)
        answers.append(opened.told(opened.call(0)))
    assert answers[0].shape == (WAITING,)
    assert abs(answers[0][0] - answers[0][1]) > 0.05  # two radiographs in turn
    for answer in answers[1:]:  # another batch may be another kernel
        np.testing.assert_allclose(answer, answers[0], atol=0.02)
    assert all(open_starts(one.subject, cached=cached).call(0) is not None for cached in (False, True))


def test_a_bundle_without_fp32_gets_a_graph_of_its_architecture_once(tmp_path: Path) -> None:
    def tiny(side: int) -> Subject:
        member = ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), side)
        plan = planned((member,), LungArchitecture(depth=3, widths=(8, 8, 8)), "tiny", tmp_path)
        return replace(plan, precisions=("int8",))

    written: list[Path] = []

    def write(module: Fused, path: Path) -> None:
        written.append(path)

    assert with_fp32(tiny(64), write=write).precisions == ("int8", "fp32")
    assert written == [tmp_path / "model.fp32.onnx"]
    with_fp32(tiny(64), write=write)
    assert len(written) == 1
    with_fp32(tiny(96), write=write)  # another architecture
    assert len(written) == 2


def test_a_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subject = network("phantom", tmp_path / "phantom").subject
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match=r"needs a C\+\+ compiler and finds none"):
        open_compiled(subject, "fp32", "cpu")


def test_the_command_writes_every_figure_and_judges_itself_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def naps(slower: int) -> Race:
        two = (peer("ours", racing_peers.napping, 1), peer("theirs", racing_peers.napping, slower))
        return Race("naps", two, inputs=1, calls=1)

    out = tmp_path / "peers-a.json"
    measure([(naps(2), {"multiply_adds": {"int8": 7}})], 1, out, None)
    assert "theirs" in capsys.readouterr().out
    document = json.loads(out.read_text())
    (race,) = document["races"]
    assert race["multiply_adds"] == {"int8": 7}
    assert document["machine"]["versions"]["pydicom"]
    assert (tmp_path / "peers-a.png").exists()
    with pytest.raises(EdgeError, match=r"naps, theirs: .* then, .* now\. Run both on a quiet machine"):
        measure([(naps(6), {})], 1, tmp_path / "peers-b.json", read_report(out))
    assert (tmp_path / "peers-b.png").exists()  # what was measured is kept all the same


def test_peers_can_be_chosen_where_not_all_fit_into_memory() -> None:
    first, second = (
        Race(name, tuple(Peer(f"{name} {number}", not_installed) for number in range(3)), 1, 1) for name in ("a", "b")
    )
    found = [(first, {"fact": 1}), (second, {})]
    ((race, facts),) = only(("a 2",), found)
    assert ([one.name for one in race.peers], facts) == (["a 0", "a 2"], {"fact": 1})
    assert list(only((), found)) == found
    with pytest.raises(click.UsageError, match="no race has these peers: none; there are a 1, a 2, b 1, b 2"):
        list(only(("a 2", "none"), found))


def test_bad_options_are_usage_errors_and_help_has_an_example() -> None:
    assert CliRunner().invoke(peers, ["--rounds", "0", "--out", "x.json"]).exit_code == 2
    assert CliRunner().invoke(peers, ["--part", "sleeping", "--out", "x.json"]).exit_code == 2
    assert "Example: python -m benchmarks.peers" in CliRunner().invoke(peers, ["--help"]).stdout


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.RLELossless], ids=lambda syntax: syntax.keyword)
def test_the_box_survives_damaged_frames_and_paints_none_that_is_cut_off(syntax: uid.UID) -> None:
    safety = call_apart(ask, Question(OURS, str(syntax), 20), limit_s=60)
    assert safety == Safety(CUTS, 20, other_shape=0, painted_cut=0)
    assert safety.safe


def test_decoders_that_paint_die_or_stall_are_found_out() -> None:
    syntax = uid.JPEGBaseline8Bit
    painted = call_apart(ask, Question("imagecodecs.jpeg8_decode", str(syntax), 0), limit_s=60)
    assert painted.painted_cut > 0 and painted.died == painted.too_long == 0
    assert not painted.safe
    assert call_apart(mad_decoders.outcomes, str(syntax), limit_s=60) == {name: name for name in mad_decoders.MAD}
    whole = frame(stored_values(96, 80, bits=8), syntax, bits=8)
    frames = changed_at_random(whole, 6)
    assert all(len(one) == len(whole) and one != whole for one in frames)
    assert frames == changed_at_random(whole, 6)
