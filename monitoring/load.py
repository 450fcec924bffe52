"""Draws a box under load: how docs/pictures were made.

    python -m monitoring.load --minutes 3 --out docs/pictures

Needs Prometheus on the PATH. The radiographs are phantoms; among them are files that cannot be read.
"""

import argparse
import contextlib
import itertools
import tempfile
import time
from pathlib import Path

from monitoring.draw import RESOLUTION, Camera, drawn
from monitoring.pages import read_pages
from monitoring.rehearsal import box, prometheus, send, wait_until

_EARLIER = 560  # radiographs; of them drift takes 500 as its reference, and the others make its first window
_WINDOW_S = 60
_SETTINGS = 'after = "archive"\nscan_s = 1\nunfinished_after_s = 2\ninclude_earlier_cases = true\n'


def picture(out: Path, span_s: float) -> None:
    """A quiet time, then a bulk of files, then a quiet time again; a configuration that is refused, and one taken."""
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        aside = folder / "aside"
        aside.mkdir()
        daemon = opened.enter_context(box(folder, "phantom", _SETTINGS))
        send(daemon, aside, seed=1, count=_EARLIER, each_s=0)
        server = opened.enter_context(prometheus(folder, daemon.listen))
        wait_until(lambda: not server.now("edge_cxr_waiting_files > 0") and bool(server.now("up")), "results", 900)
        time.sleep(_WINDOW_S)  # what is averaged has forgotten them
        end_s = time.monotonic() + span_s
        good = daemon.configuration.read_text(encoding="utf-8")
        for seed, share in zip(itertools.count(2), (0.4, 0.2, 0.4), strict=False):
            each_s = 0.05 if share == 0.2 else 1.5
            send(daemon, aside, seed=seed, count=int(share * span_s / max(each_s, 0.3)), each_s=each_s)
            daemon.configuration.write_text(f"{good}scan_ss = 1\n" if seed == 2 else good, encoding="utf-8")
            daemon.reload()
        time.sleep(max(0.0, end_s - time.monotonic()))
        camera = Camera(server, span_s, f"{_WINDOW_S}s", rate_s=5)
        for name, page in read_pages().items():
            drawn(page, camera).savefig(out / f"{name}.png", dpi=RESOLUTION)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--minutes", type=float, default=3.0, help="how long the time is that is drawn")
    asked.add_argument("--out", type=Path, default=Path("docs/pictures"))
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    picture(given.out, given.minutes * 60)


if __name__ == "__main__":
    main()
