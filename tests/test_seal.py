"""Of a signed bundle no byte can be changed, swapped, taken away or led elsewhere; all that is asked before parsing."""

import hashlib
import os
import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.bundle import PACKAGED_IDS, open_bundle, read_bundle, sign_bundle
from edge.errors import BundleError
from edge.seal import read_pinned
from edge.signature import public_key_of, sign

KEY = Ed25519PrivateKey.generate()
TRUSTED = (public_key_of(KEY),)
FLIPS = 1000


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    sign_bundle(folder, KEY)
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "tiny")


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        open_bundle(str(folder), trusted_keys=TRUSTED)


def test_every_flipped_byte_is_refused_by_what_covers_it(folder: Path) -> None:
    """1,000 random ones, as many in small files as in large: by the digest, or by the signature before any parsing."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    by_signature = {"manifest.json": "the signature does not fit", "manifest.sig": "is damaged|none of the trusted|fit"}
    assert len(files) == 7
    rng = random.Random(0)
    for number in range(FLIPS):
        path = files[number % len(files)]
        place, flip = rng.randrange(path.stat().st_size), rng.randrange(1, 256)
        with path.open("r+b") as opened:
            opened.seek(place)
            (before,) = opened.read(1)
            opened.seek(place)
            opened.write(bytes([before ^ flip]))
        try:
            assert_refused(folder, by_signature.get(path.name, f"{path.name} does not match its digest"))
        except pytest.fail.Exception:
            pytest.fail(f"byte {place} of {path.name} was flipped by {flip:#04x}, and the bundle opened")
        with path.open("r+b") as opened:
            opened.seek(place)
            opened.write(bytes([before]))
    assert open_bundle(str(folder), trusted_keys=TRUSTED).signed_by == TRUSTED[0]


def test_every_wrong_key_is_refused(folder: Path) -> None:
    for _ in range(100):
        sign_bundle(folder, Ed25519PrivateKey.generate())
        assert_refused(folder, "is signed by ed25519:.*, which is none of the trusted_keys")
    manifest = (folder / "manifest.json").read_bytes()
    forged = sign(manifest, Ed25519PrivateKey.generate())
    (folder / "manifest.sig").write_bytes(forged.line.replace(forged.signer.encode(), TRUSTED[0].encode()))
    assert_refused(folder, "the signature does not fit")


def test_any_of_several_trusted_keys_will_do(folder: Path) -> None:
    others = tuple(public_key_of(Ed25519PrivateKey.generate()) for _ in range(2))
    assert open_bundle(str(folder), trusted_keys=(*others, *TRUSTED)).signed_by == TRUSTED[0]
    with pytest.raises(BundleError, match="none of the trusted_keys"):
        open_bundle(str(folder), trusted_keys=others)


def test_without_trusted_keys_a_bundle_may_be_unsigned_but_not_wrongly_signed(folder: Path) -> None:
    assert open_bundle(str(folder)).signed_by == TRUSTED[0]
    write_manifest(folder, intended_use="changed after it was signed")
    with pytest.raises(BundleError, match=r"does not fit .*copy the bundle again, or sign it again"):
        open_bundle(str(folder))
    (folder / "manifest.sig").unlink()
    assert open_bundle(str(folder)).signed_by is None
    assert_refused(folder, r"has no manifest\.sig, and trusted_keys ask for one; .*edge-cxr bundle sign")


@pytest.mark.parametrize("length", [0, 1, 53, 100, 141])
def test_a_signature_cut_short_is_refused(folder: Path, length: int) -> None:
    signature = folder / "manifest.sig"
    signature.write_bytes(signature.read_bytes()[:length])
    assert_refused(folder, r"manifest\.sig is damaged; copy the bundle again, or sign it again")


def test_a_signature_with_more_behind_it_is_refused(folder: Path) -> None:
    with (folder / "manifest.sig").open("ab") as opened:
        opened.write(b"\n")
    assert_refused(folder, r"manifest\.sig is no file of at most 142 bytes")


def test_nothing_is_parsed_before_it_is_proved(folder: Path) -> None:
    (folder / "reference.npz").write_bytes(b"no archive")
    assert_refused(folder, "does not match its digest")
    (folder / "manifest.json").write_bytes(b"no JSON")
    assert_refused(folder, "the signature does not fit")
    with pytest.raises(BundleError, match="reinstall edge-cxr"):
        read_pinned(folder, PACKAGED_IDS["phantom"])


def test_another_bundle_s_signature_is_refused(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    write_manifest(other, name="other")
    sign_bundle(other, KEY)
    shutil.copyfile(other / "manifest.sig", folder / "manifest.sig")
    assert_refused(folder, "the signature does not fit")


def test_a_signed_bundle_of_another_format_is_refused(folder: Path) -> None:
    write_manifest(folder, format="edge-cxr/bundle/0")
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sig").write_bytes(sign(manifest, KEY).line)
    assert_refused(folder, "is not of format edge-cxr/bundle/1")


def test_swapped_files_are_refused(folder: Path) -> None:
    (folder / "MODEL_CARD.md").rename(folder / "swap")
    (folder / "golden/expected.json").rename(folder / "MODEL_CARD.md")
    (folder / "swap").rename(folder / "golden/expected.json")
    assert_refused(folder, r"MODEL_CARD\.md does not match its digest; copy the bundle again")


@pytest.mark.parametrize("name", ["reference.npz", "golden/a.dcm", "manifest.json"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert_refused(folder, f"{name} is missing; copy the whole bundle again")


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/hostname", "golden/../../elsewhere"])
def test_a_name_outside_is_refused_before_it_is_read(folder: Path, name: str) -> None:
    (folder.parent / "elsewhere").write_bytes(b"x")
    write_manifest(folder, files={name: hashlib.sha256(b"x").hexdigest()})
    (folder / "manifest.sig").unlink()
    with pytest.raises(BundleError, match="outside the bundle; do not use this bundle"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "golden", "manifest.json", "manifest.sig"])
def test_a_link_is_refused_though_it_leads_to_the_same_bytes(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / name).symlink_to(folder.parent / "elsewhere")
    assert_refused(folder, f"{name} is a link, and a bundle holds its files itself; copy what it leads to")


def test_a_link_put_there_after_the_look_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "MODEL_CARD.md").rename(folder.parent / "elsewhere")
    (folder / "MODEL_CARD.md").symlink_to(folder.parent / "elsewhere")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    assert_refused(folder, r"MODEL_CARD\.md cannot be read \(Too many levels of symbolic links\)")


@pytest.mark.parametrize("name", ["manifest.sig", ".manifest.sig.part"])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_signing_writes_through_no_link(folder: Path, name: str, kind: str) -> None:
    """A bundle of somebody else's could lead to the very key that signs it."""
    precious = folder.parent / "site.key"
    precious.write_bytes(b"precious")
    (folder / name).unlink(missing_ok=True)
    if kind == "symbolic":
        (folder / name).symlink_to(precious)
    else:
        (folder / name).hardlink_to(precious)
    sign_bundle(folder, KEY)
    assert precious.read_bytes() == b"precious"
    assert (folder / "manifest.sig").stat().st_mode & 0o444 == 0o444  # the box reads it as another user
    assert open_bundle(str(folder), trusted_keys=TRUSTED).signed_by == TRUSTED[0]


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "current").symlink_to(folder)
    assert open_bundle(str(folder.parent / "current"), trusted_keys=TRUSTED).signed_by == TRUSTED[0]


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "manifest.json"])
def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert_refused(folder, f"{name} is no file of at most")
    (folder / name).unlink()
    (folder / name).mkdir()
    assert_refused(folder, f"{name} is no file of at most|{name} cannot be read")


def test_a_huge_manifest_is_refused_unread(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 2**40)  # sparse
    assert_refused(folder, r"manifest\.json is no file of at most 1048576 bytes")


@pytest.mark.parametrize("name", ["", ".", "golden", "MODEL\0CARD", "\ud800", "x" * 300])
def test_a_name_that_names_no_file_is_refused(folder: Path, name: str) -> None:
    write_manifest(folder, files={name: "0" * 64})
    (folder / "manifest.sig").unlink()
    with pytest.raises(BundleError):
        read_bundle(folder)


def test_a_file_that_is_not_listed_is_not_looked_at(folder: Path) -> None:
    (folder / "model.int8.onnx").write_bytes(b"not of this bundle")
    assert "model.int8.onnx" not in open_bundle(str(folder), trusted_keys=TRUSTED).files
