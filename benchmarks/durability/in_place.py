"""A box that writes many results, and a reader that never rests: what is not whole when it is visible, it meets."""

from benchmarks.durability.bench import bench
from benchmarks.durability.crew import Tally
from benchmarks.durability.radiographs import sent
from benchmarks.durability.reader import Reader


def read_beside(results: int, *, mutant: str | None = None) -> Tally:
    """Runs until a result was met half written, or `results` were written."""
    tally = Tally()
    files = [sent(f"{number}.dcm", number) for number in range(100)]
    with bench(files) as place:
        while tally.did["results"] < results and not tally.found:
            place.fresh()
            with Reader(place.state, pause_s=0) as reader:
                place.run(after="keep", mutant=mutant)
            tally.did["results"] += len(files)
            tally.did["results_read_at_once"] += reader.read
            for name in reader.not_whole:
                tally.found.note("partial", f"a reader met {name} half written")
    return tally
