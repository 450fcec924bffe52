"""Bundle, decode worker and known answers: what has to work before the first radiograph is scored."""

from edge.bundle import PACKAGED_IDS, Bundle
from edge.config import Config
from edge.doctor.check import Finding, warning
from edge.doctor.machine import Machine
from edge.imaging.decode_pool import open_decoder
from edge.imaging.sandbox import Layer
from edge.reading_room import open_pipeline
from edge.state import SITE_KEY_BYTES


def bundle_opened(bundle: Bundle) -> Finding:
    """It opened, so every digest matches, and its signature where trusted_keys ask for one."""
    manifest = bundle.manifest
    told = f"{manifest.name} {bundle.id[:12]}, {', '.join(manifest.precisions)}, every digest matches"
    if bundle.id in PACKAGED_IDS.values():
        return Finding(f"{told}, the program's own")
    if bundle.signed_by is None:
        return warning(f"{told}, not signed: whoever may write its folder may change it. Have it signed: edge-cxr "
                       "bundle sign, and set trusted_keys")  # fmt: skip
    return Finding(f"{told}, signed by {bundle.signed_by}")


def decode_worker(config: Config, bundle: Bundle) -> Finding:
    """Without a part of its sandbox all is well, unless it is required; but somebody should know."""
    with open_decoder(config, bundle, bytes(SITE_KEY_BYTES)) as decoder:
        decoder.start()
        if decoder.missing:
            return warning(f"degraded: this kernel lacks {', '.join(decoder.missing)} to confine it; run one with "
                           "Landlock and seccomp")  # fmt: skip
    return Finding(f"confined by {', '.join(Layer)}")


def known_answers(config: Config, machine: Machine) -> Finding:
    with open_pipeline(config, find=machine.find_gpu) as pipeline:  # it opens only when they match
        identity = pipeline.engine.identity
    return Finding(f"every golden case matches on {identity.backend} {identity.precision}")
