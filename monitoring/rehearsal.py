"""A box and a Prometheus server, for the tests and the pictures: real programs on free ports of this machine."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from edge.phantom import render
from edge.phantom_dicom import write_dicom, write_png
from monitoring.ask import NoAnswer, Prometheus
from monitoring.rule_files import FOLDER as RULES

_CONFIG = Path(__file__).parent / "prometheus" / "prometheus.yml"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Box:
    """A daemon that runs. listen: HOST:PORT of its metrics."""

    incoming: Path
    state: Path
    configuration: Path
    listen: str
    pid: int

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)


@contextlib.contextmanager
def box(folder: Path, bundle: str, settings: str = "") -> Iterator[Box]:
    """`edge-cxr watch` in a process of its own. settings: further lines of its configuration.

    Raises TimeoutError when it does not get ready; its log is in folder/box.log.
    """
    incoming, state = folder / "incoming", folder / "state"
    incoming.mkdir(exist_ok=True)
    listen = f"127.0.0.1:{_free_port()}"
    config = folder / "edge-cxr.toml"
    config.write_text(f'state = "{state}"\nbundle = "{bundle}"\nlisten = "{listen}"\n{settings}', encoding="utf-8")
    program = "from edge.cli import main; main()"
    command = [sys.executable, "-c", program, "watch", str(incoming), "--config", str(config)]
    with _running(command, folder / "box.log") as pid:
        wait_until(lambda: _answers(f"http://{listen}/readyz"), "the box to be ready")
        yield Box(incoming, state, config, listen, pid)


@contextlib.contextmanager
def prometheus(folder: Path, listen: str, *, each_s: int = 1) -> Iterator[Prometheus]:
    """Our configuration and rules, with this box as the only target. each_s: between scrapes, and between rules."""
    config = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
    config["global"] = {
        "scrape_interval": f"{each_s}s",
        "evaluation_interval": f"{each_s}s",
        "scrape_timeout": f"{each_s}s",
    }
    config["rule_files"] = [str(RULES / "*.yml")]
    del config["alerting"]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "edge-cxr"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [listen]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{_free_port()}"
    program = shutil.which("prometheus")
    if program is None:
        raise FileNotFoundError(
            "prometheus is not installed; on Debian: apt-get install --no-install-recommends prometheus"
        )
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus-data"]
    with _running([*command, f"--web.listen-address={address}"], folder / "prometheus.log"):
        wait_until(lambda: _answers(f"http://{address}/-/ready"), "Prometheus to be ready")
        yield Prometheus(f"http://{address}")


def send(daemon: Box, aside: Path, *, seed: int, count: int, each_s: float) -> None:
    """Radiographs, one after the other, and now and then something that is none. aside: a folder on the same disk."""
    rng = random.Random(seed)
    for number in range(count):
        name = f"{seed:04}-{number:05}"
        whole = aside / name
        kind = rng.choices(("dicom", "png", "lateral", "child", "cut", "other"), (80, 5, 4, 2, 4, 5))[0]
        phantom = render(seed * 100_000 + number, rng.choice(("covid", "other")), longest_side=384)
        if kind == "png":
            write_png(phantom, whole)
        elif kind == "other":
            whole.write_bytes(b"no radiograph, number %d" % number)
        else:
            view, age = ("LATERAL" if kind == "lateral" else "AP"), ("009Y" if kind == "child" else "054Y")
            write_dicom(phantom, whole, view_position=view, patient_age=age)
        if kind == "cut":
            whole.write_bytes(whole.read_bytes()[:-1000])
        whole.rename(daemon.incoming / name)
        time.sleep(rng.expovariate(1 / each_s) if each_s else 0)


def wait_until(is_so: Callable[[], bool], what: str, patience_s: float = _PATIENCE_S) -> None:
    """Raises TimeoutError."""
    deadline_s = time.monotonic() + patience_s
    while True:
        with contextlib.suppress(NoAnswer):
            if is_so():
                return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {patience_s:.0f} s for {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[int]:
    with log.open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
