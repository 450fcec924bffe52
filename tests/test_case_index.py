"""The index of earlier cases finds what the ledger has, and nothing that it has no more, after whatever happened."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_ledger import BUNDLE, FakeLedger, numbered
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import scored, sha

from edge.case_index import PAGE, EarlierCases, add, differing, empty_index, search
from edge.index_file import Stamp, load, locked, path_of, remove_all, save
from edge.outputs.report_json import encode
from edge.similarity import Extent, NumberedCase, ScannedCases, Wanted
from edge.store import Ledger

MANY = 3 * PAGE
PATIENCE_S = 60


def opened(folder: Path, ledger: FakeLedger | Ledger, *, warnings: list[str] | None = None) -> EarlierCases:
    """Opened without a warning, unless they are asked for."""
    told: list[str] = [] if warnings is None else warnings
    earlier = EarlierCases.open(folder, ledger, BUNDLE, size=128, warn=told.append)
    assert warnings is not None or told == []
    return earlier


def completed(earlier: EarlierCases) -> EarlierCases:
    earlier.complete(threading.Event())
    assert not earlier.pending
    return earlier


def nearest(earlier: EarlierCases, case: NumberedCase, k: int = 4, *, without: tuple[str, ...] = ()) -> list[str]:
    return [near.case_id for _, near in earlier.nearest(case.embedding, k, without=without)]


def finds(earlier: EarlierCases, case: NumberedCase) -> bool:
    return nearest(earlier, case, 1) == [case.case_id]


def queries(count: int) -> list[NumberedCase]:
    return numbered(count, 99)


def test_a_few_cases_are_there_at_once_and_a_new_one_when_it_is_asked_for(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(5, 0))
    earlier = opened(tmp_path, ledger)
    assert (len(earlier), earlier.last_number, earlier.pending) == (5, 5, False)
    assert all(finds(earlier, case) for case in numbered(5, 0))
    (new,) = numbered(1, 1, after=5)
    ledger.add([new])
    assert not finds(earlier, new)
    earlier.catch_up()
    assert finds(earlier, new)
    assert not earlier.pending


def test_answers_are_those_of_a_search_through_the_ledger(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(300, 0))
    earlier, scanned = opened(tmp_path, ledger), ScannedCases(ledger, BUNDLE)
    for query in queries(20):
        without = (nearest(earlier, query)[1],)
        assert earlier.nearest(query.embedding, 4, without=without) == scanned.nearest(
            query.embedding, 4, without=without
        )
        assert len(nearest(earlier, query, 500)) == 300
    assert nearest(opened(tmp_path, FakeLedger()), queries(1)[0]) == []


@settings(max_examples=25)
@given(st.integers(1, 400), st.integers(0, 400), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_patients_cases_are_left_out_as_a_search_of_all_would(
    patients_own: int, others: int, k: int, seed: int
) -> None:
    """They are the nearest, as images of one patient are, and may be more than all candidates of a first search."""
    query = numbered(1, seed)[0].embedding
    cases = [
        replace(case, patient_key="a" * 64, embedding=query + case.embedding / 20)
        if case.number <= patients_own
        else case
        for case in numbered(patients_own + others, seed)
    ]
    ledger = FakeLedger(cases)
    earlier = EarlierCases(Path("unused"), ledger, BUNDLE, size=128)
    completed(earlier)
    found = earlier.nearest(query, k, without=(), wanted=Wanted(not_of="a" * 64))
    assert found == ScannedCases(ledger, BUNDLE).nearest(query, k, without=(), wanted=Wanted(not_of="a" * 64))
    assert len(found) == min(k, others)
    assert len(earlier.nearest(query, k, without=())) == min(k, patients_own + others)


def test_others_are_found_behind_more_cases_of_a_patient_than_are_looked_at_else(tmp_path: Path) -> None:
    query, cases = numbered(1, 1)[0].embedding, numbered(3000, 1)
    own = [replace(case, patient_key="a" * 64, embedding=query + case.embedding / 20) for case in cases[:-2]]
    earlier = completed(opened(tmp_path, FakeLedger(own + cases[-2:])))
    found = [case.number for _, case in earlier.nearest(query, 4, without=(), wanted=Wanted(not_of="a" * 64))]
    assert sorted(found) == [2999, 3000]
    earlier.catch_up()
    assert len(earlier) == 3000  # that so many were of one patient is no sign of wear


def test_a_graph_finds_the_nearest_of_random_embeddings() -> None:
    """The hardest kind: independent numbers in all 128 dimensions."""
    cases = numbered(5000, 0)
    index = empty_index(128)
    for start in range(0, len(cases), 128):
        add(index, cases[start : start + 128])
    everything = np.stack([case.embedding for case in cases])
    hits = 0
    for query in queries(200):
        apart = np.linalg.norm(everything - query.embedding, axis=1)
        candidates = np.array(search(index, query.embedding, 17, exact_up_to=0))
        best = candidates[np.argsort(apart[candidates - 1])][:4]
        hits += len(set(best) & set(np.argsort(apart)[:4] + 1))
    assert hits / 800 >= 0.99


def test_a_small_set_hides_no_case() -> None:
    for count in (1, 2, 17, 500):
        index, cases = empty_index(128), numbered(count, count)
        add(index, cases)
        assert all(search(index, case.embedding, 1) == [case.number] for case in cases)
        assert sorted(search(index, cases[0].embedding, 1000)) == [case.number for case in cases]


def test_a_large_ledger_is_pending_until_a_thread_has_read_it_and_saved_the_index(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(MANY, 0))
    earlier = opened(tmp_path, ledger)
    assert earlier.pending
    earlier.catch_up()  # does not do the thread's work
    assert (len(earlier), earlier.pending) == (0, True)
    stop = threading.Event()
    thread = threading.Thread(target=earlier.keep, args=(stop,), kwargs={"warn": pytest.fail})
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    try:
        query, sizes = queries(1)[0], {len(nearest(earlier, queries(1)[0]))}
        while earlier.pending or load(path_of(tmp_path, BUNDLE), BUNDLE) is None:
            sizes.add(len(nearest(earlier, query)))  # searched while it grows
            assert thread.is_alive()
            assert time.monotonic() < deadline, "waited in vain"
    finally:
        stop.set()
        thread.join(60)
    assert sizes <= {0, 4}
    assert (len(earlier), earlier.last_number) == (MANY, MANY)
    assert len(opened(tmp_path, ledger)) == MANY


def test_a_saved_index_is_taken_over_without_reading_the_ledger_again(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(MANY, 0))
    before = completed(opened(tmp_path, ledger))
    assert before.save()
    new = numbered(3, 1, after=MANY)
    ledger.add(new)
    ledger.read = 0
    after = opened(tmp_path, ledger)
    assert (len(after), after.pending, ledger.read) == (MANY + 3, False, 3)
    for query in queries(20):
        assert nearest(after, query, without=tuple(case.case_id for case in new)) == nearest(before, query)
    assert all(finds(after, case) for case in new)


def test_one_that_is_stopped_half_way_goes_on_from_there(tmp_path: Path) -> None:
    ledger, stop = FakeLedger(numbered(MANY, 0)), threading.Event()
    earlier = opened(tmp_path, ledger)
    earlier.complete(stop, on_page=lambda last_number, of: stop.set())
    assert (earlier.pending, len(earlier)) == (True, PAGE)
    earlier.keep(stop, warn=pytest.fail)  # told to stop already: it saves what there is
    ledger.read = 0
    assert len(completed(opened(tmp_path, ledger))) == MANY
    assert ledger.read == MANY - PAGE


def spoil_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def put_other_bundle(path: Path) -> None:
    kept = load(path, BUNDLE)
    assert kept is not None
    save(path, Stamp(**{**vars(kept[0]), "bundle_id": "c" * 64}), bytes(kept[1]))


def put_other_payload(path: Path) -> None:
    """As another version of usearch would: the digest is right."""
    kept = load(path, BUNDLE)
    assert kept is not None
    save(path, kept[0], b"something else")


def put_other_count(path: Path) -> None:
    kept = load(path, BUNDLE)
    assert kept is not None
    save(path, Stamp(**{**vars(kept[0]), "count": 4}), bytes(kept[1]))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (spoil_byte, "is damaged"),
        (spoil_end, "is damaged"),
        (put_other_bundle, "is of bundle"),
        (put_other_payload, "is of another usearch"),
        (put_other_count, "its stamp says otherwise"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_built_anew(tmp_path: Path, harm: object, told: str) -> None:
    ledger = FakeLedger(numbered(30, 0))
    assert opened(tmp_path, ledger).save()
    assert callable(harm)
    harm(path_of(tmp_path, BUNDLE))
    warnings: list[str] = []
    earlier = opened(tmp_path, ledger, warnings=warnings)
    (warning,) = warnings
    assert told in warning
    assert "built anew" in warning
    assert all(finds(earlier, case) for case in numbered(30, 0))
    assert earlier.save()
    assert len(opened(tmp_path, ledger)) == 30


@pytest.mark.parametrize("restored", [FakeLedger(numbered(20, 0)), FakeLedger(numbered(40, 7))], ids=["older", "other"])
def test_the_index_of_another_ledger_is_built_anew(tmp_path: Path, restored: FakeLedger) -> None:
    """A backup that was put back gives the same numbers to other cases."""
    assert opened(tmp_path, FakeLedger(numbered(30, 0))).save()
    warnings: list[str] = []
    earlier = opened(tmp_path, restored, warnings=warnings)
    assert "is of another ledger" in warnings[0]
    assert len(earlier) == len(restored.cases)
    assert all(finds(earlier, case) for case in restored.cases.values())


def test_a_forgotten_case_is_never_found_nor_written_again(tmp_path: Path) -> None:
    ledger, (gone, *rest) = FakeLedger(numbered(30, 0)), numbered(30, 0)
    secret = gone.embedding.astype(np.float16).tobytes()
    earlier = opened(tmp_path, ledger)
    assert earlier.save()
    assert secret in path_of(tmp_path, BUNDLE).read_bytes()  # or this test would prove nothing
    ledger.forget(gone.number)
    with locked(tmp_path):
        remove_all(tmp_path)
    assert gone.case_id not in nearest(earlier, gone, 30)
    assert not earlier.save()  # its memory still holds the embedding
    assert not path_of(tmp_path, BUNDLE).exists()
    earlier.catch_up()
    assert (len(earlier), earlier.pending) == (29, False)
    assert earlier.save()
    assert secret not in path_of(tmp_path, BUNDLE).read_bytes()
    assert rest[0].embedding.astype(np.float16).tobytes() in path_of(tmp_path, BUNDLE).read_bytes()
    assert all(finds(opened(tmp_path, ledger), case) for case in rest)


def test_a_case_forgotten_while_the_index_is_built_is_not_in_it(tmp_path: Path) -> None:
    ledger, gone = FakeLedger(numbered(MANY, 0)), numbered(1, 0)[0]
    earlier = opened(tmp_path, ledger)
    forgets = iter([lambda: ledger.forget(gone.number)])
    earlier.complete(threading.Event(), on_page=lambda last_number, of: next(forgets, lambda: None)())
    assert (len(earlier), earlier.pending) == (MANY - 1, False)
    assert earlier.save()
    assert gone.embedding.astype(np.float16).tobytes() not in path_of(tmp_path, BUNDLE).read_bytes()


def test_a_large_index_that_must_start_over_is_pending_again(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(MANY, 0))
    earlier = completed(opened(tmp_path, ledger))
    ledger.forget(5)
    earlier.catch_up()
    assert earlier.pending
    assert len(completed(earlier)) == MANY - 1


def test_a_file_from_before_a_case_was_forgotten_is_not_used(tmp_path: Path) -> None:
    """Such as one from a backup."""
    ledger = FakeLedger(numbered(30, 0))
    assert opened(tmp_path, ledger).save()
    ledger.forget(5)
    warnings: list[str] = []
    assert len(opened(tmp_path, ledger, warnings=warnings)) == 29
    assert "from before a case was forgotten" in warnings[0]


def test_cases_that_gave_way_are_dropped_however_many_stand_before(tmp_path: Path) -> None:
    """Asked for again and scored alike: each old number is as near as the new one."""
    cases = numbered(400, 0)
    ledger = FakeLedger(cases)
    earlier = opened(tmp_path, ledger)
    for case in cases[:396]:
        del ledger.cases[case.number]
    for query in queries(5):
        assert sorted(nearest(earlier, query)) == sorted(case.case_id for case in cases[396:])


def test_an_index_whose_cases_are_mostly_gone_starts_over(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(MANY, 0))
    earlier = completed(opened(tmp_path, ledger))
    for number in range(1, MANY - 9):
        del ledger.cases[number]
    assert len(nearest(earlier, queries(1)[0], 20)) < 10
    earlier.catch_up()
    assert earlier.pending
    assert len(completed(earlier)) == 10
    assert len(nearest(earlier, queries(1)[0], 20)) == 10


def test_a_file_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("in the way")
    earlier, warnings, stop = EarlierCases(tmp_path / "index", FakeLedger(numbered(9, 0)), BUNDLE, size=128), [], None
    stop = threading.Event()
    completed(earlier)
    stop.set()
    earlier.keep(stop, warn=warnings.append)
    assert len(warnings) == 1
    assert "check the disk" in warnings[0]


def kept(earlier: EarlierCases, done: Callable[[], bool], warnings: list[str], *, each_s: float = 3600.0) -> None:
    """The thread of the daemon, until something has happened."""
    stop, deadline = threading.Event(), time.monotonic() + PATIENCE_S
    thread = threading.Thread(
        target=earlier.keep, args=(stop,), kwargs={"warn": warnings.append, "catch_up_each_s": each_s}
    )
    thread.start()
    try:
        while not done():
            assert thread.is_alive()
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def test_a_folder_that_cannot_be_used_is_told_once_until_as_many_more_were_added(tmp_path: Path) -> None:
    """As when another user made it."""
    (tmp_path / "index").write_text("in the way")
    ledger, warnings = FakeLedger(numbered(MANY, 0)), list[str]()
    earlier = completed(EarlierCases(tmp_path / "index", ledger, BUNDLE, size=128))
    looks = iter(range(100))
    kept(earlier, lambda: next(looks) > 80, warnings)  # 0.8 s: some four looks
    assert len(warnings) == 1
    ledger.add(numbered(1000, 1, after=MANY))
    earlier.catch_up()
    kept(earlier, lambda: len(warnings) > 1, warnings)


def test_what_was_forgotten_leaves_the_memory_though_nobody_searches(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(30, 0))
    earlier = opened(tmp_path, ledger)
    ledger.forget(7)
    kept(earlier, lambda: len(earlier) == 29, [], each_s=0.05)


def test_a_save_that_was_refused_starts_the_index_over(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(MANY, 0))
    earlier = completed(opened(tmp_path, ledger))  # not saved yet
    ledger.forget(7)
    kept(earlier, lambda: not earlier.pending and path_of(tmp_path, BUNDLE).exists(), [])
    assert len(earlier) == MANY - 1


class ForgetsMeanwhile(FakeLedger):
    """Another process forgets a case as soon as a save has asked what was forgotten, and removes every index file."""

    def __init__(self, cases: Sequence[NumberedCase], folder: Path) -> None:
        super().__init__(cases)
        self._folder = folder
        self.forgets = False
        self.other = threading.Thread(target=self._forget)

    def _forget(self) -> None:
        self.forget(7)
        with locked(self._folder):
            remove_all(self._folder)

    def extent(self) -> Extent:
        extent = super().extent()
        if self.forgets:
            self.forgets = False
            self.other.start()
            self.other.join(0.5)  # it ends within this time if nothing holds it
        return extent


def test_a_case_forgotten_while_the_index_is_saved_is_in_no_file(tmp_path: Path) -> None:
    ledger = ForgetsMeanwhile(numbered(30, 0), tmp_path)
    earlier = opened(tmp_path, ledger)  # type: ignore[arg-type]
    ledger.forgets = True
    earlier.save()
    ledger.other.join(PATIENCE_S)
    assert 7 not in ledger.cases
    assert not path_of(tmp_path, BUNDLE).exists()


def test_what_is_saved_is_not_saved_again_until_it_grew(tmp_path: Path) -> None:
    ledger, stop = FakeLedger(numbered(9, 0)), threading.Event()
    earlier = opened(tmp_path, ledger)
    stop.set()
    earlier.keep(stop, warn=pytest.fail)
    stamp = path_of(tmp_path, BUNDLE).stat().st_ino
    earlier.keep(stop, warn=pytest.fail)
    assert path_of(tmp_path, BUNDLE).stat().st_ino == stamp
    ledger.add(numbered(1, 1, after=9))
    earlier.keep(stop, warn=pytest.fail)
    assert path_of(tmp_path, BUNDLE).stat().st_ino != stamp
    assert len(opened(tmp_path, ledger)) == 10


def test_differing_counts_other_embeddings_and_missing_ones() -> None:
    index, cases = empty_index(128), numbered(5, 0)
    assert differing(index, {}) == 0
    add(index, cases[:4])
    others = {case.number: case for case in numbered(5, 1)}
    assert differing(index, {case.number: case for case in cases[:4]}) == 0
    assert differing(index, {case.number: case for case in cases}) == 1
    assert differing(index, others) == 5
    assert differing(index, {5: cases[4]}) == 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", site_key=bytes(32)) as ledger:
        for number in range(20):
            ledger.record(scored(number), encode(scored(number)), None)
        yield ledger


def test_a_real_ledger_numbers_its_cases_and_says_what_was_forgotten(tmp_path: Path, ledger: Ledger) -> None:
    earlier = opened(tmp_path / "index", ledger)
    assert (len(earlier), earlier.last_number) == (20, 20)
    assert earlier.save()
    prediction = scored(3).prediction
    assert prediction is not None
    ((away, near), *_) = earlier.nearest(prediction.embedding, 4, without=())
    assert (near.case_id, away) == (sha(3)[:16], 0.0)
    before = ledger.extent()
    with ledger._transaction() as connection:
        connection.execute("DELETE FROM cases WHERE sha256 = ?", (sha(3),))
        connection.execute("INSERT INTO forgotten VALUES ('key', 5.5)")
    assert ledger.extent() != before
    assert not earlier.save()
    earlier.catch_up()
    assert len(earlier) == 19
    with ledger._transaction() as connection:  # forgotten a second time, after it came again
        connection.execute("INSERT OR REPLACE INTO forgotten VALUES ('key', 6.5)")
    assert not earlier.save()


def test_a_case_asked_for_again_is_found_once_by_its_new_number(tmp_path: Path, ledger: Ledger) -> None:
    earlier = opened(tmp_path / "index", ledger)
    with ledger._transaction() as connection:
        connection.execute("INSERT INTO requeued VALUES (?, 1.0)", (sha(3),))
    again = scored(3, score=0.125)
    ledger.record(again, encode(again), None)
    earlier.catch_up()
    assert again.prediction is not None
    found = earlier.nearest(again.prediction.embedding, 20, without=())
    assert (found[0][1].case_id, found[0][1].score) == (sha(3)[:16], 0.125)
    assert len({near.case_id for _, near in found}) == len(found) == 20


def test_the_thread_that_adds_and_those_that_search_do_not_disturb_each_other(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(MANY, 0))
    earlier = opened(tmp_path, ledger)
    faults: list[BaseException] = []

    def ask() -> None:
        try:
            while earlier.pending:
                for query in queries(20):
                    found = earlier.nearest(query.embedding, 4, without=())
                    apart = [float(np.linalg.norm(case.embedding - query.embedding)) for _, case in found]
                    np.testing.assert_allclose([away for away, _ in found], apart, rtol=1e-5)
                    assert apart == sorted(apart)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    completed(earlier)
    for thread in threads:
        thread.join(60)
    assert faults == []


@pytest.mark.parametrize("rare", [1, 40])
def test_few_wanted_among_many_are_found_and_a_new_label_needs_no_rebuild(tmp_path: Path, rare: int) -> None:
    """The index knows no labels: they are the ledger's, as they are at this moment."""
    query, ledger = numbered(1, 1)[0].embedding, FakeLedger([replace(case, label=None) for case in numbered(MANY, 2)])
    earlier = completed(opened(tmp_path, ledger))
    wanted = Wanted(label="covid")
    assert earlier.nearest(query, 4, without=(), wanted=wanted) == []
    far_off = sorted(ledger.cases.values(), key=lambda case: float(np.linalg.norm(case.embedding - query)))[-rare:]
    for case in far_off:
        ledger.cases[case.number] = replace(case, label="covid")
    found = earlier.nearest(query, 4, without=(), wanted=wanted)
    assert found == ScannedCases(ledger, BUNDLE).nearest(query, 4, without=(), wanted=wanted)
    assert len(found) == min(rare, 4)
