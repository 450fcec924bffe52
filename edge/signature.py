"""Ed25519 keys and detached signatures (RFC 8032), as text. Knows nothing of bundles.

A public key is `ed25519:<base64 of 32 bytes>`. A signature file is one line: the signer's public key, a blank, and the
base64 of 64 bytes.
"""

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edge.errors import UsageError

PUBLIC_SUFFIX = ".pub"
_ALGORITHM = "ed25519:"
_PUBLIC_BYTES, _SIGNATURE_BYTES = 32, 64
LINE_BYTES = len(_ALGORITHM) + 44 + len(" ") + 88 + len("\n")


@dataclass(frozen=True)
class Signature:
    """Who says to have signed, and the 64 bytes that prove it for one content."""

    signer: str
    value: bytes

    @property
    def line(self) -> bytes:
        return f"{self.signer} {base64.b64encode(self.value).decode()}\n".encode()

    def fits(self, content: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key_bytes(self.signer)).verify(self.value, content)
        except InvalidSignature:
            return False
        return True


def read_signature(line: bytes) -> Signature:
    """A signature file's content. Raises ValueError for anything but the one way of writing it."""
    signer, _, value = line.decode("ascii").removesuffix("\n").partition(" ")
    public_key_bytes(signer)
    signature = Signature(signer, base64.b64decode(value, validate=True))
    if len(signature.value) != _SIGNATURE_BYTES or signature.line != line:  # base64 has spare bits
        raise ValueError("no signature")
    return signature


def public_key_bytes(public_key: str) -> bytes:
    """The 32 bytes of a key's text. Raises ValueError for anything but the one way of writing them."""
    raw = base64.b64decode(public_key.removeprefix(_ALGORITHM), validate=True)
    if len(raw) != _PUBLIC_BYTES or _text(raw) != public_key:
        raise ValueError(public_key)
    return raw


def public_key_of(private_key: Ed25519PrivateKey) -> str:
    return _text(private_key.public_key().public_bytes_raw())


def sign(content: bytes, private_key: Ed25519PrivateKey) -> Signature:
    return Signature(public_key_of(private_key), private_key.sign(content))


def make_key(path: Path) -> str:
    """Write a new private key (PEM, for its owner alone) and beside it the public key; returns the public key.

    Raises UsageError when one of the two files is there: a key is never overwritten.
    """
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    private_key = Ed25519PrivateKey.generate()
    public_key = public_key_of(private_key)
    if os.path.lexists(public_path):
        raise UsageError(f"{public_path} exists, and a key is never overwritten; name another file")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists, and a key is never overwritten; name another file") from None
    with os.fdopen(descriptor, "wb") as private_file:
        private_file.write(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with public_path.open("x", encoding="ascii") as public_file:
        public_file.write(public_key + "\n")
    return public_key


def load_key(path: Path) -> Ed25519PrivateKey:
    """A private key from its file.

    Raises UsageError when others than its owner may read the file, or when it holds no Ed25519 key in clear PEM.
    """
    try:
        with path.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise UsageError(f"private key {path} is open to others (mode {mode:o}); run: chmod 600 {path}")
            private_key = load_pem_private_key(opened.read(), password=None)
    except OSError as fault:
        raise UsageError(f"private key {path} cannot be read ({fault.strerror}); check --key") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, encrypted, of another kind
        private_key = None
    if not isinstance(private_key, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 private key in clear PEM; make one: edge-cxr bundle keygen FILE")
    return private_key


def _text(public_key: bytes) -> str:
    return _ALGORITHM + base64.b64encode(public_key).decode("ascii")
