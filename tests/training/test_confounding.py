"""What probes, shares and baselines find where the answer is known, and each branch of the verdict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score

from edge.statistics import Interval, Proportion, auc_interval
from training.confounding import (
    SourceProbe,
    baselines,
    explained_by_source,
    readable,
    source_alone_auc,
    source_probe,
    verdict,
)

SEPARATE = np.arange(60).astype(str)
THREE = np.repeat(["a", "b", "c"], 20)


def noise(rows: int = 60, width: int = 8, *, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_a_source_that_is_written_in_the_embedding_is_guessed() -> None:
    embeddings = noise()
    embeddings[:, :3] += 20 * np.repeat(np.eye(3), 20, axis=0)
    probe = source_probe(embeddings, THREE, SEPARATE)
    assert probe is not None
    assert probe.accuracy == Proportion(60, 60)
    assert probe.balanced == Interval(1, 1, 1)
    assert probe.sources == ("a", "b", "c")
    assert probe.reads


def test_noise_knows_no_source() -> None:
    probe = source_probe(noise(), np.repeat(["a", "b"], [40, 20]), SEPARATE)
    assert probe is not None and not probe.reads
    assert probe.chance == pytest.approx(40 / 60)
    assert probe.balanced_chance == 0.5
    assert probe.balanced.low < 0.5 < probe.balanced.high


def test_a_constant_embedding_is_at_chance_exactly() -> None:
    probe = source_probe(np.ones((60, 4)), THREE, SEPARATE)
    assert probe is not None and not probe.reads
    assert probe.balanced == Interval(pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_the_probe_never_sees_the_patient_it_is_asked_about() -> None:
    """Each patient's five radiographs are alike and say nothing else: across patients it must be at chance, while
    folds that divide patients would make it perfect."""
    clusters = np.repeat(np.arange(24), 5).astype(str)
    embeddings = np.repeat(40 * np.eye(24), 5, axis=0) + noise(120, 24) / 100
    probe = source_probe(embeddings, np.repeat(["a", "b"], 60), clusters)
    assert probe is not None
    assert probe.accuracy.count < 100
    assert not probe.reads


def test_the_probe_weighs_sources_alike() -> None:
    """Half of the small source stands apart, the rest looks like the large one: recalls of 1 and one half."""
    embeddings = np.zeros((60, 2))
    embeddings[50:55] = 30
    probe = source_probe(embeddings, np.repeat(["a", "b"], [50, 10]), SEPARATE)
    assert probe is not None
    assert probe.accuracy == Proportion(55, 60)
    assert probe.balanced.value == 0.75
    assert 0.55 < probe.balanced.low < 0.75 < probe.balanced.high < 0.95


def test_a_small_source_counts_as_much_as_a_large_one() -> None:
    """All of the small source and 22 of 55 of the large one look alike: guessed to be of the small one, though fewer.
    Some redraws hold nothing of its five patients, and say nothing."""
    embeddings = np.zeros((60, 1))
    embeddings[33:] = 1
    probe = source_probe(embeddings, np.repeat(["a", "b"], [55, 5]), SEPARATE)
    assert probe is not None
    assert probe.accuracy == Proportion(33 + 5, 60)
    assert probe.balanced.value == pytest.approx((33 / 55 + 1) / 2)


def test_the_probes_interval_redraws_patients() -> None:
    embeddings = np.repeat(noise(20, 2), 6, axis=0)
    embeddings[60:] += 1
    sources = np.repeat(["a", "b"], 60)
    probe = source_probe(embeddings, sources, np.repeat(np.arange(20), 6).astype(str))
    assert probe is not None
    apart = probe.accuracy.interval  # as if all radiographs were independent
    assert probe.balanced.high - probe.balanced.low > 1.5 * (apart.high - apart.low)


def test_sources_without_five_patients_take_no_part() -> None:
    sources = np.repeat(["a", "b", "", "c"], [20, 20, 12, 8])
    clusters = [*SEPARATE[:52], *["p", "q", "r", "s"] * 2]
    probe = source_probe(noise(), sources, clusters)
    assert probe is not None
    assert probe.sources == ("a", "b")
    assert probe.accuracy.total == 40
    assert source_probe(noise(), sources, [*SEPARATE[:20], *["x"] * 40]) is None
    assert source_probe(noise(3), ["a", "a", "b"], ["1", "2", "3"]) is None


def test_what_a_label_alone_tells_of_the_source() -> None:
    """a: 15 of 20 positive, b: 5 of 20. Positive is guessed a, negative b: right in three of four."""
    positive = np.tile([True, True, True, False], 5).tolist() + np.tile([True, False, False, False], 5).tolist()
    sources = np.repeat(["a", "b"], 20)
    probe = source_probe(noise(40), sources, SEPARATE[:40], positive=positive)
    assert probe is not None
    guessed = np.where(positive, "a", "b")
    assert probe.balanced_chance == pytest.approx(balanced_accuracy_score(sources, guessed)) == 0.75
    alike = source_probe(noise(40), sources, SEPARATE[:40], positive=[True, False] * 20)
    assert alike is not None and alike.balanced_chance == 0.5


def test_a_perfect_network_does_not_read_sources_of_one_label_each() -> None:
    positive = np.repeat([True, False], 30)
    embeddings = noise() / 10 + 10 * positive[:, None]
    probe = source_probe(embeddings, np.where(positive, "a", "b"), SEPARATE, positive=positive)
    assert probe is not None
    assert probe.balanced == Interval(1, 1, 1)
    assert not probe.reads


def test_share_of_the_source_worked_out_by_hand() -> None:
    """a: 1, 3; b: 5, 7. Sum of squares 20, within 4. Epsilon squared: (16 - 1 * 2) / 20 = 0.7; eta squared: 0.8."""
    assert explained_by_source([0.1, 0.3, 0.5, 0.7], list("aabb")) == pytest.approx(0.7)
    assert explained_by_source([0.1, 0.3, 0.5, 0.7, 0.9], ["a", "a", "b", "b", ""]) == pytest.approx(0.7)


def test_share_of_the_source_is_nothing_by_chance() -> None:
    random = np.random.default_rng(4)
    shares = [explained_by_source(random.random(30), random.choice(list("abcde"), 30)) for _ in range(200)]
    assert np.mean(shares) < 0.08  # eta squared would be 4/29 = 0.14
    assert np.median(shares) < 0.03


def test_share_within_labels_agrees_with_two_regressions() -> None:
    random = np.random.default_rng(5)
    sources, positive = random.choice(list("abc"), 80), random.random(80) < 0.5
    scores = 0.5 * positive + 0.2 * (sources == "a") + 0.1 * random.random(80)
    label, both = positive[:, None], np.column_stack([positive, sources == "a", sources == "b"])
    left = [((scores - LinearRegression().fit(x, scores).predict(x)) ** 2).sum() for x in (label, both)]
    expected = 1 - (left[1] / (80 - 4)) / (left[0] / (80 - 2))
    assert explained_by_source(scores, sources, positive=positive) == pytest.approx(expected)


def test_labels_that_differ_by_source_are_no_fault_of_the_network() -> None:
    positive = np.array([True, True, True, False, False, True, False, False])
    scores, sources = 0.1 + 0.8 * positive, list("aaaabbbb")
    assert explained_by_source(scores, sources) > 0.1
    assert explained_by_source(scores, sources, positive=positive) == 0
    assert explained_by_source(scores, np.where(positive, "a", "b"), positive=positive) == 0


@pytest.mark.parametrize("scores, sources", [
    ([], []), ([0.3], ["a"]), ([0.5, 0.5, 0.5], list("aab")), ([0.1] * 3, list("abc")), ([0.1, 0.2, 0.9], list("abc")),
    ([0.1, 0.2], ["", ""]), ([0.1, 0.2, 0.3], ["a", "a", "a"]),
])  # fmt: skip
def test_no_share_where_nothing_can_be_told(scores: list[float], sources: list[str]) -> None:
    assert explained_by_source(scores, sources) == 0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=15), st.booleans()
)
def test_a_share_is_a_share(rows: list[tuple[float, str, bool]], within: bool) -> None:
    scores, sources, positive = map(list, zip(*rows, strict=True))
    assert 0 <= explained_by_source(scores, sources, positive=positive if within else None) <= 1


def test_source_alone_worked_out_by_hand() -> None:
    """Shares: a 1/4 (though most are of it), b 1, unknown 2/5. a ties with a, loses to b; z beats a, loses to b."""
    area = source_alone_auc(list("aaaab"), [1, 0, 0, 0, 1], list("aabz"), [True, False, False, True])
    assert area == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    assert source_alone_auc(list("ab"), [1, 0], list("zz"), [True, False]) == 0.5
    assert source_alone_auc(list("ab"), [1, 0], list("ab"), [True, True]) is None
    assert source_alone_auc([], [], list("ab"), [True, False]) is None


def test_a_value_that_is_in_the_embedding_is_read() -> None:
    embeddings = noise(200, 6)
    read = readable(embeddings, embeddings @ [1, 2, 0, 0, -1, 0.5] + 3, np.arange(200).astype(str))
    assert 0.99 < read.low <= read.value <= read.high <= 1


def test_a_value_with_known_noise_is_read_by_its_share() -> None:
    """Signal and noise of the same variance: R² is one half, a little less for what six coefficients cost."""
    embeddings = noise(1000, 6)
    values = embeddings[:, 2] + noise(1000, 1, seed=1)[:, 0]
    read = readable(embeddings, values, np.arange(1000).astype(str))
    assert read.value == pytest.approx(0.5, abs=0.04)
    assert read.low < 0.5 < read.high


def test_a_value_of_the_patient_is_not_read_from_the_patient() -> None:
    """Without folds by cluster the embedding, which names the patient, would give the value away."""
    embeddings = np.repeat(10 * np.eye(20), 5, axis=0)
    values = np.repeat(noise(20, 1)[:, 0], 5)
    assert readable(embeddings, values, np.repeat(np.arange(20), 5).astype(str)).value < 0.1


def test_small_and_constant_sets_are_read_without_complaint() -> None:
    assert readable(noise(3), [2, 2, 2], list("abc")) == Interval(0, 0, 0)
    for clusters in ("abc", "aba"):
        read = readable(np.ones((3, 4)), [1, 2, 4], list(clusters))
        assert read.value < 0
    with pytest.raises(ValueError, match="two are needed; there are 1"):
        readable(noise(3), [1, 2, 3], list("aaa"))
    with pytest.raises(ValueError, match="values has nan at row 1"):
        readable(noise(3), [1, float("nan"), 3], list("abc"))


def test_baselines_worked_out_by_hand() -> None:
    """One feature keeps its order, or turns it: in training the wide ones are positive, the tall ones negative."""
    train = {"width": [[200], [220], [100], [110]], "height": [[1], [2], [3], [4]], "none": np.ones((4, 3))}
    test = {"width": [[180], [120], [150], [90]], "height": [[1], [2], [3], [0]], "none": np.ones((4, 3))}
    flags, clusters = [True, True, False, False], list("abcd")
    areas = baselines(train, [True, True, False, False], test, flags, clusters)
    assert list(areas) == ["width", "height", "none"]
    assert areas["width"] == auc_interval([180, 120, 150, 90], flags, clusters)
    assert areas["height"] == auc_interval([-1, -2, -3, 0], flags, clusters)
    assert areas["none"] == Interval(0.5, 0.5, 0.5)


def test_equal_features_of_a_wide_set_are_a_tie() -> None:
    taught, row = noise(40, 1280), noise(1, 1280, seed=2)
    flags = [True, False, True] * 5
    areas = baselines(
        {"frozen": taught}, taught[:, 0] > 0, {"frozen": np.repeat(row, 15, axis=0)}, flags, SEPARATE[:15]
    )
    assert areas["frozen"] == Interval(0.5, 0.5, 0.5)


def test_baselines_of_sets_that_lack_a_label_or_a_feature() -> None:
    train, test = {"width": [[1], [2]]}, {"width": [[1]]}
    assert baselines(train, [True, False], test, [True], ["a"]) == {}
    with pytest.raises(ValueError, match="both labels; 2 of 2"):
        baselines(train, [True, True], test, [True], ["a"])
    with pytest.raises(ValueError, match=r"\['width'\], the test set \['view'\]"):
        baselines(train, [True, False], {"view": [[1]]}, [True], ["a"])
    with pytest.raises(ValueError, match="width has nan at row 1"):
        baselines({"width": [[1], [float("nan")]]}, [True, False], {"width": [[1], [2]]}, [True, False], ["a", "b"])


READS = SourceProbe(Proportion(45, 60), 0.4, Interval(0.75, 0.6, 0.85), ("a", "b", "c"))
BLIND = SourceProbe(Proportion(20, 60), 0.4, Interval(0.35, 0.3, 0.4), ("a", "b", "c"))
MODEL = Interval(0.9, 0.85, 0.95)
WEAK, STRONG = {"width": Interval(0.6, 0.5, 0.7)}, {"width": Interval(0.6, 0.5, 0.7), "view": Interval(0.86, 0.7, 0.9)}
HOLDS, LOSES, FALLS = (
    {"eurorad": area} for area in (Interval(0.88, 0.8, 0.92), Interval(0.44, 0.3, 0.58), Interval(0.7, 0.6, 0.88))
)


def judged(probe: SourceProbe | None, **changed: object):
    return verdict(probe, **({"model": MODEL, "shortcuts": WEAK, "external": HOLDS, "explained": 0.05} | changed))


@pytest.mark.parametrize("changed, told", [
    ({"shortcuts": STRONG}, "not clearly better than its best shortcut, the view alone, with 0.86"),
    ({"source_alone": 0.85}, "the source alone, with 0.85"),
    ({"external": LOSES}, "on eurorad, which it was not trained on, its AUC is 0.44 (0.30 to 0.58)"),
    ({"external": FALLS}, "0.70 (0.60 to 0.88)"),
    ({"external": HOLDS | FALLS}, "0.70"),
    ({"model": None, "external": LOSES}, "0.44"),
    ({"explained": 0.14}, "14%"),
])  # fmt: skip
def test_each_reason_to_say_that_it_reads_the_machine(changed: dict[str, object], told: str) -> None:
    found = judged(READS, **changed)
    assert found.reads_the_machine
    assert found.sentence.startswith("The model reads the machine: ")
    assert told in found.sentence and "0.75 (0.60 to 0.85), chance 0.33" in found.sentence
    blind = judged(BLIND, **changed)
    assert not blind.reads_the_machine
    assert "the model is not shown to read the lungs either" in blind.sentence and told in blind.sentence


def test_no_reason_to_say_so() -> None:
    knows, blind = judged(READS), judged(BLIND)
    assert not knows.reads_the_machine and not blind.reads_the_machine
    assert knows.sentence.startswith("The embedding knows the machine, but nothing shows that the scores follow it")
    assert blind.sentence.startswith("Nothing shows that the model reads the machine")
    assert "is clearly better than its best shortcut, the width alone, with 0.60" in blind.sentence
    assert not judged(READS, model=None).reads_the_machine
    assert len(blind.reasons) == 4  # the probe, the shortcuts, the other source, the share


def test_one_source_is_nothing_to_judge_by() -> None:
    found = judged(None)
    assert not found.reads_the_machine
    why = "fewer than two sources have five patients or groups each"
    assert found.sentence == f"Whether the model reads the machine cannot be judged: {why}."
    doubtful = judged(None, external=LOSES)
    assert not doubtful.reads_the_machine
    assert "cannot be judged" in doubtful.sentence and "its AUC is 0.44" in doubtful.sentence
    bare = verdict(None, model=None, shortcuts={}, external={}, explained=0)
    assert len(bare.reasons) == 2
