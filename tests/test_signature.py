"""Keys and signatures are written in one way only; a private key is for its owner alone."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.errors import UsageError
from edge.signature import LINE_BYTES, load_key, make_key, public_key_bytes, public_key_of, read_signature, sign

PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


def test_the_first_vectors_of_rfc_8032() -> None:
    """Section 7.1, TEST 1 and TEST 2."""
    vectors = [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ]  # fmt: skip
    for seed, message, expected in vectors:
        signature = sign(bytes.fromhex(message), Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
        assert signature.value.hex() == expected
        assert signature.fits(bytes.fromhex(message))
        assert not signature.fits(b"another")


def test_a_signature_is_one_line_and_reads_back() -> None:
    signature = sign(b"content", Ed25519PrivateKey.generate())
    assert len(signature.line) == LINE_BYTES
    assert signature.line.startswith(signature.signer.encode() + b" ")
    assert read_signature(signature.line) == signature


def test_every_single_bit_of_a_signature_counts() -> None:
    """Base64 has spare bits and hexadecimal has two cases: only one way of writing is accepted."""
    line = sign(b"content", Ed25519PrivateKey.generate()).line
    for bit in range(len(line) * 8):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert not read_signature(bytes(flipped)).fits(b"content"), bit
        except ValueError:
            continue


@pytest.mark.parametrize("ending", [b"", b"\r\n", b"\n\n", b" \n", b"\n\0"])
def test_another_ending_is_refused(ending: bytes) -> None:
    line = sign(b"content", Ed25519PrivateKey.generate()).line
    with pytest.raises(ValueError):
        read_signature(line[:-1] + ending)


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 43 + "=", "A" * 43 + "=", "ed25519:" + "A" * 42 + "B=",
             "ed25519:" + "A" * 43 + "=\n", "ED25519:" + "A" * 43 + "=", "ed25519:" + "ä" * 44],
)  # fmt: skip
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        public_key_bytes(text)


def test_a_made_key_is_private_signs_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    public_key = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "site.key.pub").read_text() == public_key + "\n"
    private_key = load_key(path)
    assert public_key_of(private_key) == public_key
    assert public_key_bytes(public_key) == private_key.public_key().public_bytes_raw()
    before = path.read_bytes()
    (tmp_path / "site.key.pub").unlink()
    with pytest.raises(UsageError, match=r"site\.key exists, and a key is never overwritten; name another file"):
        make_key(path)
    assert path.read_bytes() == before


def test_the_public_key_s_file_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "site.key.pub").write_text("precious")
    with pytest.raises(UsageError, match=r"site\.key\.pub exists"):
        make_key(tmp_path / "site.key")
    assert (tmp_path / "site.key.pub").read_text() == "precious"
    assert not (tmp_path / "site.key").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_key_that_others_may_open_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.key"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(UsageError, match=rf"open to others \(mode {mode:o}\); run: chmod 600 .*site\.key"):
        load_key(path)
    path.chmod(0o400)
    load_key(path)


def test_what_is_no_clear_ed25519_key_is_refused(tmp_path: Path) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    locked = serialization.BestAvailableEncryption(b"secret")
    contents = {
        "empty": b"",
        "text": b"no key",
        "rsa": other.private_bytes(*PEM, serialization.NoEncryption()),
        "locked": Ed25519PrivateKey.generate().private_bytes(*PEM, locked),
        "public": public_key_of(Ed25519PrivateKey.generate()).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"{name} holds no Ed25519 private key in clear PEM; make one"):
            load_key(tmp_path / name)
    with pytest.raises(UsageError, match=r"missing cannot be read .*check --key"):
        load_key(tmp_path / "missing")
