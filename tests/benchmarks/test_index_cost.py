"""The measurement of the index finds what it says: the true nearest, over more than one chunk of made cases."""

from pathlib import Path

from benchmarks.index_cost import embeddings, measure


def test_a_small_ledger_is_measured_whole(tmp_path: Path) -> None:
    cost = measure((tmp_path, 10_200, 20))
    assert (cost.cases, cost.queries, cost.recall) == (10_200, 20, 1.0)
    assert cost.file_bytes > 10_200 * 256
    assert cost.ledger_bytes > 10_200 * 1000
    assert cost.rebuild_cpu_s > 0
    assert 0 < cost.retrieve_cpu_p50_s <= cost.retrieve_cpu_p99_s


def test_made_embeddings_are_the_same_each_time_and_differ_by_seed() -> None:
    assert (embeddings(1, 5) == embeddings(1, 5)).all()
    assert not (embeddings(1, 5) == embeddings(2, 5)).all()
    assert embeddings(1, 5).shape == (5, 128)
