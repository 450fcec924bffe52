"""What systemd is told: READY, STATUS, RELOADING, STOPPING and the watchdog's pings (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Mapping
from typing import Self

_MICRO = 1_000_000


class Notifier:
    """Messages to the service manager; none leaves where there is no manager.

    address: of $NOTIFY_SOCKET; an abstract socket's begins with @. watchdog_s: how long the manager waits for a ping,
    None where it does not.
    """

    def __init__(self, address: str | None = None, *, watchdog_s: float | None = None) -> None:
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """As the manager told this process; what was told to another (WATCHDOG_PID) is not for it."""
        told = environment.get("WATCHDOG_USEC", "")
        for_this = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_s = int(told) / _MICRO if told.isascii() and told.isdigit() and for_this else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog_s=watchdog_s)

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, told: str) -> None:
        """One line, which `systemctl status` shows."""
        self._send(f"STATUS={' '.join(told.split())}")

    def reloading(self) -> None:
        """Ends with the next `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def wait_for(self, seconds: float) -> None:
        """The manager is to wait so long for the next ping."""
        self._send(f"WATCHDOG_USEC={round(seconds * _MICRO)}")

    def _send(self, message: str) -> None:
        """A manager that does not listen keeps no radiograph waiting."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), address)
        except OSError:
            pass
