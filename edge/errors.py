"""Every error the box raises on purpose.

EdgeError
├── UsageError            the command or the configuration is wrong             exit 2
│   └── NotAtPresent        what was named is not there now; a service ends with 1
├── BundleError           a model bundle cannot be trusted or opened            exit 2
├── StateError            the state folder, the ledger or the disk failed       exit 1
│   ├── DiskFailed          a sync failed: what was written may be gone, and no second sync would tell
│   └── IndexDamaged        the file of an index cannot be used; the ledger has all of it
├── Unopenable            a file is there and cannot be opened                   looked at again
│   └── StillLinked         it has other names too: looked at again, and read once it has one
├── Stopped               told to stop before a run was done                     exit 1
├── EngineError           the inference engine failed: the daemon stops         exit 1
│   ├── KnownAnswerFailed   a golden case is answered wrongly: out of service (in known_answer.py)
│   ├── BackendUnavailable  the asked-for backend cannot run on this machine
│   ├── NotFinite           it answers with what is no number
│   ├── PlanMissing         a GPU could answer, and no good plan is kept for it
│   └── OutOfMemory         the GPU has no memory left: smaller batches may fit
└── RadiographError       one radiograph's fault: it gets a reason, work goes on
    ├── Unreadable, Truncated, NoPixels, UnsupportedSyntax, TooLarge, Bomb, DecoderDied
    ├── NotARadiograph, NotFrontalChest, OutsideIntendedUse
    └── (the gates after the engine return findings and do not raise)

A message says what happened, the value seen, and what to do next; it never holds a patient identifier.
"""

from typing import ClassVar

from edge.values import Reason


class EdgeError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(EdgeError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class NotAtPresent(UsageError):
    """What was named is not there, or another has it: it may be named rightly, and a service tries again (exit 1)."""


class BundleError(EdgeError):
    """A model bundle is missing, damaged, or made for another version."""

    exit_code = 2


class StateError(EdgeError):
    """The state folder cannot be used: locked, full, or damaged."""


class DiskFailed(StateError):
    """A sync failed. The pages may be gone and a second sync would succeed: the process must end and start anew."""


class Unopenable(EdgeError):
    """A file cannot be opened: without its bytes it has no case id, and so no result yet."""


class StillLinked(Unopenable):
    """A file has more than one hard link: it may be on its way, or another's file under a sender's name."""


class Stopped(EdgeError):
    """A run was told to stop before it was done."""


class EngineError(EdgeError):
    """Inference failed; no later result can be trusted."""


class BackendUnavailable(EngineError):
    """The backend asked for cannot run on this machine."""


class PlanMissing(EngineError):
    """A GPU could answer, and no plan is kept that fits it and can be trusted."""


class NotFinite(EngineError):
    """The engine answered with what is no number."""


class OutOfMemory(EngineError):
    """The GPU has no memory left; a smaller batch may fit."""


class RadiographError(EdgeError):
    """One radiograph cannot be scored. Subclasses fix the reason; the message is the detail shown to people."""

    reason: ClassVar[Reason]


class Unreadable(RadiographError):
    reason = Reason.UNREADABLE


class Truncated(RadiographError):
    reason = Reason.TRUNCATED


class NoPixels(RadiographError):
    reason = Reason.NO_PIXELS


class UnsupportedSyntax(RadiographError):
    reason = Reason.UNSUPPORTED_SYNTAX


class TooLarge(RadiographError):
    reason = Reason.TOO_LARGE


class Bomb(RadiographError):
    reason = Reason.BOMB


class DecoderDied(RadiographError):
    reason = Reason.DECODER_DIED


class NotARadiograph(RadiographError):
    reason = Reason.NOT_A_RADIOGRAPH


class NotFrontalChest(RadiographError):
    reason = Reason.NOT_FRONTAL_CHEST


class OutsideIntendedUse(RadiographError):
    reason = Reason.OUTSIDE_INTENDED_USE


_BY_REASON: dict[Reason, type[RadiographError]] = {kind.reason: kind for kind in RadiographError.__subclasses__()}


def radiograph_error(reason: Reason, detail: str) -> RadiographError:
    """The error of a reason, as it comes back from a decode worker."""
    return _BY_REASON[reason](detail)
