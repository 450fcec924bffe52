"""A full or failing disk at any call: one clear line or work that goes on, and nothing lost."""

from benchmarks.durability.faults import every_fault, prove_faults, sample


def test_a_call_that_fails(strace_here: None) -> None:
    faults = sample(every_fault("archive"), 70, seed=3)
    assert {fault.error for fault in faults} == {"ENOSPC", "EIO"}
    tally = prove_faults(faults)
    assert tally.found.lines == []
    assert tally.did["faults"] == len(faults)
    assert tally.did["stopped"] > 0
    assert tally.did["went_on"] > 0
    assert tally.did["fsyncs_failed"] > 0


def test_a_failed_fsync_of_the_ledger_is_never_tried_again(strace_here: None) -> None:
    """Not by the next commit, and not by the checkpoint at the end: it would succeed, and what was lost is lost."""
    faults = [
        fault for fault in every_fault("archive") if fault.point.call == "fdatasync" and fault.point.thread == "write"
    ]
    tally = prove_faults(faults)
    assert tally.did["fsyncs_failed"] >= 5
    assert tally.did["stopped"] == len(faults)
    assert [note for note in tally.noted if "ledger.sqlite-wal" in note] == []
