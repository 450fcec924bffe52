"""What the daemon takes, and when: the inbox asked in the configured way, and nothing while the disk is full."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config
from edge.disk_space import Reserve
from edge.errors import NotAtPresent, StateError, Unopenable, UsageError
from edge.inbox import Inbox, Stop, mode
from edge.log import FIELDS
from edge.outputs.disposal import ASIDE, recover_set_aside
from edge.outputs.durable import make_folder
from edge.scans import Pace
from edge.state import StateFolder
from edge.store import Ledger
from edge.values import Sighting

_ROOM_POLL_S = 1.0


class Intake:
    """Sightings of the incoming folder, and of what an operator asked for again. One thread iterates."""

    def __init__(
        self, config: Config, incoming: Path, state: StateFolder, ledger: Ledger, *, once: bool, logger: logging.Logger
    ) -> None:
        self._incoming, self._state, self._once, self._logger = incoming, state, once, logger
        self._watching = config.watching
        self._reserve = Reserve(state.root, percent=config.reserve_percent, at_most_bytes=config.reserve_bytes)
        # An input that is to be moved or deleted and is still there was left by a crash: it is taken again, to go.
        stays = config.after == "keep"
        self.inbox = Inbox(
            incoming,
            lambda seen: stays and not seen.path.is_relative_to(state.requeued) and ledger.is_known(seen),
            further=[state.requeued],
            changed=ledger.changed_elsewhere,
            appeared=self._recover,
            warn=logger.warning,
            alarm=logger.error,
            pace=Pace(scan_s=config.scan_s, poll_s=config.poll_s),
            watching=config.watching,
            newest_first=config.order == "newest",
        )

    @property
    def reserve_bytes(self) -> float:
        """With less free space nothing is taken."""
        return self._reserve.kept_bytes

    def hindrances(self) -> dict[str, str | None]:
        """Why nothing is taken at present, by what is in the way; None where nothing is."""
        return {"disk_space": self._reserve.shortage(), "folder_absent": self.inbox.absent}

    def sightings(self, stop: Stop) -> Iterator[Sighting]:
        """Complete files, while there is room for their results.

        Raises StateError for a single run when there is none, Unopenable when it cannot read the folder.
        """
        make_folder(self._state.requeued)
        self._logger.info("watching", extra={FIELDS: {"incoming": mode(self._incoming, self._watching)}})
        found = self.inbox.settled(stop) if self._once else self.inbox.watch(stop)
        for sighting in found:
            if not self._has_room(stop):
                return
            yield sighting

    def check_all_read(self, unopened: int) -> None:
        """After a single run. unopened: files that could not be opened. Raises Unopenable when something was left."""
        if unopened or self.inbox.unreadable:
            unread = f"{unopened} file(s) and {self.inbox.unreadable} folder(s)"
            raise Unopenable(f"{unread} could not be read; the others have their results. Check the permissions")
        if self.inbox.restless:
            left = self.inbox.restless
            raise Unopenable(f"{left} file(s) are still being written; run it again when they are complete")

    def _recover(self) -> None:
        for root in (self._incoming, self._state.requeued):
            recovered, hidden = recover_set_aside(root)
            if recovered:
                self._logger.info("a crash had left inputs set aside", extra={FIELDS: {"files": str(recovered)}})
            if hidden:
                self._logger.warning(
                    f"{hidden} input(s) stay hidden as {ASIDE}* and cannot be renamed; let the box write in the folder"
                )

    def _has_room(self, stop: Stop) -> bool:
        """Waits for room. False when it was stopped meanwhile."""
        shortage = self._reserve.shortage()
        if shortage is None:
            return True
        if self._once:
            raise StateError(f"{shortage}; free space and start again: nothing was lost")
        self._logger.error(f"{shortage}; free space: nothing is taken until then, and nothing is lost")
        while not stop.is_set():
            time.sleep(_ROOM_POLL_S)
            if self._reserve.shortage() is None:
                self._logger.info("there is room again; radiographs are taken")
                return True
        return False


def check_folders(state: Path, incoming: Path) -> None:
    """Before anything is made. The box must not take its own ledger and results for radiographs. Raises UsageError."""
    try:
        there = incoming.is_dir()
    except OSError as fault:
        raise NotAtPresent(
            f"incoming folder {incoming} cannot be reached ({fault.strerror}); let the box read it"
        ) from None
    if not there:
        raise NotAtPresent(f"incoming folder {incoming} does not exist; create it or name another")
    inner, outer = state.resolve(), incoming.resolve()
    if inner.is_relative_to(outer):
        raise UsageError(f"state folder {state} lies inside the incoming folder {incoming}; choose another --state")
    if outer.is_relative_to(inner):
        raise UsageError(f"incoming folder {incoming} lies inside the state folder {state}; name another")
