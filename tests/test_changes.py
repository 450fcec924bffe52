"""What another configuration or bundle is taken for, without a daemon around it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from running_daemon import Kept

from edge.bundle import open_bundle
from edge.changes import Changes, Wanted
from edge.config import Config
from edge.errors import UsageError
from edge.metrics import Metrics
from edge.outputs.durable import write_durably


class Watch:
    """Looks as often as it is told, and waits for nothing."""

    def __init__(self, config: Config, read: Callable[[], Config]) -> None:
        self.log, self.metrics = Kept(), Metrics()
        self.settled: list[bool] = []
        self.changes = Changes(read, self.metrics, self.log.logger, on_settled=lambda: self.settled.append(True))
        self.serving = Wanted(config, open_bundle("phantom"))
        self.taken: list[Wanted] = []

    def look(self, times: int = 1) -> None:
        left = [times * 2]

        def is_over() -> bool:  # asked before each wait and after it
            left[0] -= 1
            self.changes.wake()
            return left[0] < 0

        self.changes.watch(self.serving, self.taken.append, is_over)

    def counted(self, sample: str) -> bool:
        return f"edge_cxr_{sample}\n" in self.metrics.exposition().decode()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(state=str(tmp_path), bundle="active")


@pytest.fixture
def watch(config: Config) -> Watch:
    return Watch(config, lambda: config)


def mark(config: Config, content: str) -> None:
    write_durably(Path(config.state, "bundles/active.json"), content.encode())


def test_the_active_bundle_is_taken_once_it_is_another(watch: Watch, config: Config) -> None:
    watch.look(3)
    assert watch.taken == []
    mark(config, '{"active": "phantom", "before": []}')
    watch.look(3)
    assert watch.taken == []
    mark(config, '{"active": "research", "before": ["phantom"]}')
    watch.look(3)
    (taken,) = watch.taken
    assert (taken.bundle.manifest.name, taken.is_switch, taken.config) == ("research", True, config)


@pytest.mark.parametrize("content", ['{"active": "0123456789ab", "before": []}', "nonsense"])
def test_what_cannot_be_opened_is_told_once_for_each_time_it_is_activated(
    watch: Watch, config: Config, content: str
) -> None:
    for times in (1, 2):
        mark(config, content)
        watch.look(3)
        assert watch.taken == []
        assert len(watch.log.lines) == times
        assert watch.counted(f'bundle_switches_total{{outcome="refused"}} {times}.0')


def test_what_did_not_prove_itself_is_not_tried_again_before_it_is_activated_again(
    watch: Watch, config: Config
) -> None:
    for times in (1, 2):
        mark(config, '{"active": "research", "before": ["phantom"]}')
        watch.look(3)
        assert len(watch.taken) == times
        watch.changes.refused(watch.taken[-1], UsageError("wrong answers"))
        watch.look(3)
        assert len(watch.taken) == times
    assert watch.counted('bundle_switches_total{outcome="refused"} 2.0')


def test_a_mark_that_is_gone_asks_for_nothing(watch: Watch, config: Config) -> None:
    mark(config, '{"active": "0123456789ab", "before": []}')
    watch.look(3)
    Path(config.state, "bundles/active.json").unlink()
    watch.look(3)
    assert watch.taken == []
    assert watch.counted('bundle_switches_total{outcome="refused"} 1.0')


def test_it_is_told_when_the_bundle_that_scores_is_the_active_one_again(watch: Watch, config: Config) -> None:
    mark(config, '{"active": "0123456789ab", "before": []}')
    watch.look(3)
    assert watch.settled == []
    mark(config, '{"active": "phantom", "before": []}')
    watch.look(3)
    assert (watch.settled, watch.taken) == ([True], [])


def test_another_setting_than_active_does_not_follow_the_mark(watch: Watch, config: Config) -> None:
    watch.serving = replace(watch.serving, config=replace(config, bundle="phantom"))
    mark(config, '{"active": "research", "before": ["phantom"]}')
    watch.look(3)
    assert watch.taken == []


def test_a_reload_takes_what_is_read_but_for_what_a_process_holds_on_to(config: Config) -> None:
    wanted = replace(config, neighbours=9, state="/elsewhere", listen="", bundle="phantom")
    watch = Watch(config, lambda: wanted)
    watch.changes.ask()
    watch.look(2)
    (taken,) = watch.taken
    assert taken.config == replace(config, neighbours=9, bundle="phantom")
    assert not taken.is_switch
    assert [line.split()[0] for line in watch.log.lines] == ["state", "listen"]
    watch.changes.taken(taken)
    assert watch.counted('reloads_total{outcome="taken"} 1.0')


def test_a_bundle_that_was_refused_in_a_reload_is_not_tried_by_itself(watch: Watch, config: Config) -> None:
    mark(config, '{"active": "research", "before": ["phantom"]}')
    watch.changes.ask()
    watch.look()
    watch.changes.refused(watch.taken[0], UsageError("wrong answers"))
    assert watch.counted('reloads_total{outcome="refused"} 1.0')
    watch.look(3)
    assert len(watch.taken) == 1


def test_a_reload_that_cannot_be_read_is_refused(config: Config) -> None:
    def broken() -> Config:
        raise UsageError("unknown key 'neighbors'; did you mean neighbours?")

    watch = Watch(config, broken)
    watch.changes.ask()
    watch.look(3)
    assert watch.taken == []
    assert watch.counted('reloads_total{outcome="refused"} 1.0')
    assert watch.log.lines == ["not reloaded, what was read before stays: unknown key 'neighbors'; did you mean "
                               "neighbours?"]  # fmt: skip
