"""The bytes of a bundle folder, each read once and proved before anybody parses it: digests, signature, no way out.

What the bytes mean is bundle.py's.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.errors import BundleError
from edge.outputs.durable import write_durably
from edge.signature import LINE_BYTES, read_signature, sign

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
_MOST_MANIFEST_BYTES = 1024 * 1024  # the packaged ones have 12 thousand
_MOST_FILE_BYTES = 2 * 1024**3  # protobuf, and so ONNX, holds no more


@dataclass(frozen=True)
class SealedManifest:
    """manifest.json as it was read. signed_by: the public key whose signature fits it, None where there is none."""

    content: bytes
    signed_by: str | None = None

    @property
    def id(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def read_pinned(folder: Path, bundle_id: str) -> SealedManifest:
    """The manifest of a packaged bundle. Raises BundleError when it is another than the program's own."""
    manifest = SealedManifest(_read(folder, MANIFEST, _MOST_MANIFEST_BYTES))
    if manifest.id != bundle_id:
        raise BundleError(
            f"packaged bundle {folder.name} is {manifest.id[:12]}, not {bundle_id[:12]}; reinstall edge-cxr"
        )
    return manifest


def read_signed(folder: Path, trusted_keys: tuple[str, ...]) -> SealedManifest:
    """The manifest of any other bundle; without trusted keys it may be unsigned.

    Raises BundleError when a signature is missing, damaged, by a key that is not trusted, or of another manifest.
    """
    content = _read(folder, MANIFEST, _MOST_MANIFEST_BYTES)
    if not os.path.lexists(folder / SIGNATURE):
        if trusted_keys:
            raise BundleError(f"bundle {folder} has no {SIGNATURE}, and trusted_keys ask for one; "
                              f"have it signed: edge-cxr bundle sign {folder} --key FILE")  # fmt: skip
        return SealedManifest(content)
    try:
        signature = read_signature(_read(folder, SIGNATURE, LINE_BYTES))
    except ValueError:
        raise BundleError(f"{folder / SIGNATURE} is damaged; copy the bundle again, or sign it again") from None
    if trusted_keys and signature.signer not in trusted_keys:
        raise BundleError(f"bundle {folder} is signed by {signature.signer}, which is none of the trusted_keys; "
                          "do not use it, or add the key if you know whose it is")  # fmt: skip
    if not signature.fits(content):
        raise BundleError(f"the signature does not fit {folder / MANIFEST}: one was changed after the other; "
                          "copy the bundle again, or sign it again")  # fmt: skip
    return SealedManifest(content, signature.signer)


def read_unsigned(folder: Path) -> SealedManifest:
    """The manifest alone, for whoever is about to sign it."""
    return SealedManifest(_read(folder, MANIFEST, _MOST_MANIFEST_BYTES))


def write_signature(folder: Path, manifest: SealedManifest, private_key: Ed25519PrivateKey) -> str:
    """Sign the bytes that were read, replacing an earlier signature, or a link by that name; returns the signer's
    public key. Raises StateError when the disk fails.
    """
    signature = sign(manifest.content, private_key)
    write_durably(folder / SIGNATURE, signature.line, mode=0o644)
    return signature.signer


def read_listed(folder: Path, digests: dict[str, str]) -> dict[str, bytes]:
    """Every file that the manifest lists, by name. Others in the folder are not looked at.

    Raises BundleError for a name outside the folder, a link, a missing file, and another digest than the listed one.
    """
    files = {}
    for name, digest in digests.items():
        content = _read(folder, name, _MOST_FILE_BYTES)
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(f"{folder / name} does not match its digest; copy the bundle again")
        files[name] = content
    return files


def _read(folder: Path, name: str, most_bytes: int) -> bytes:
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts:
        raise BundleError(f"the manifest names {name!r}, outside the bundle; do not use this bundle")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise BundleError(f"{path} is a link, and a bundle holds its files itself; copy what it leads to")
    try:
        # A pipe without a writer would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            content = opened.read(most_bytes + 1) if regular else b""
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; copy the whole bundle again") from None
    except OSError as fault:
        raise BundleError(f"{path} cannot be read ({fault.strerror}); copy the bundle again") from None
    if not regular or len(content) > most_bytes:
        raise BundleError(f"{path} is no file of at most {most_bytes} bytes; copy the bundle again")
    return content
