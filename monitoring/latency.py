"""The dashboard of latency and engine: where the time goes, and what it runs on. Its lower half is in process.py."""

from monitoring.panels import BAD, BOX, GOOD, PLAIN, WARNS, Section, heat_map, lines, number, quantile
from monitoring.process import changes, host, process

_STAGE = f"edge_cxr_stage_duration_seconds_bucket{{{BOX}}}"
_INFER = f'edge_cxr_stage_duration_seconds_bucket{{{BOX}, stage="infer"}}'
_WHOLE = f"edge_cxr_end_to_end_seconds_bucket{{{BOX}}}"


def latency() -> list[Section]:
    return [_stages(), _engine(), process(), changes(), host()]


def _stages() -> Section:
    return Section(
        "Where the time goes",
        (
            heat_map(
                "Time to result",
                "How many radiographs took how long, from the complete file to its result written and recorded.",
                _WHOLE,
                "s",
            ),
            lines(
                "Time to result: p50, p95, p99",
                "Over the window before each point. Between two buckets a quantile is interpolated.",
                {f"p{share}": quantile(share / 100, _WHOLE) for share in (50, 95, 99)},
                "s",
            ),
            *(
                lines(
                    f"Stages: p{share}",
                    f"{told} of the radiographs took no longer. wait: from the complete file until it is decoded.",
                    {"{{stage}}": quantile(share / 100, _STAGE, by="stage, le")},
                    "s",
                    width=8,
                )
                for share, told in ((50, "Half"), (95, "95 %"), (99, "99 %"))
            ),
            lines(
                "Mean time in each stage",
                "Stacked: the height is the mean time of a radiograph that passes all stages.",
                {
                    "{{stage}}": f"sum by (stage) (rate(edge_cxr_stage_duration_seconds_sum{{{BOX}}}[$window])) / "
                    f"(sum by (stage) (rate(edge_cxr_stage_duration_seconds_count{{{BOX}}}[$window])) > 0)"
                },
                "s",
                width=8,
                stacked=True,
            ),
            lines(
                "Added to the engine (p95 over an hour)",
                "Decode, preprocess, retrieve and write: the sum of their 95th percentiles. The target is 250 ms.",
                {"{{instance}}": f"instance:edge_cxr_beside_engine_seconds:p95_1h{{{BOX}}}"},
                "s",
                width=8,
                limit=0.25,
            ),
            lines(
                "Queues",
                "Radiographs waiting before each group of stages.",
                {"{{queue}}": f"sum by (queue) (edge_cxr_queue_depth{{{BOX}}})"},
                "short",
                width=8,
            ),
        ),
    )


def _engine() -> Section:
    tests = f"sum by (outcome) (increase(edge_cxr_known_answer_tests_total{{{BOX}}}[$window]))"
    return Section(
        "Engine and plan",
        (
            number(
                "Scored by",
                "The engine in use: tensorrt is the GPU, openvino the CPU.",
                f"edge_cxr_backend_active{{{BOX}}} == 1",
                "none",
                width=4,
                legend="{{backend}} {{precision}}",
                named=True,
            ),
            number(
                "GPU expected",
                "Whether a GPU should score: the backend is tensorrt, or auto on a machine with an NVIDIA GPU.",
                f"max(edge_cxr_gpu_expected{{{BOX}}})",
                "none",
                width=4,
                says={"0": ("no", GOOD), "1": ("yes", PLAIN)},
            ),
            number(
                "Plan",
                "How much of the GPU's plan is built, while one is; 0 % when none was asked for.",
                f"max(edge_cxr_engine_build_progress_ratio{{{BOX}}})",
                "percentunit",
                width=4,
            ),
            number(
                "Plans not built",
                "Plans that failed, or whose answers to the golden cases were wrong, since the start.",
                f'sum(edge_cxr_engine_builds_total{{{BOX}, outcome=~"failed|refused"}})',
                "short",
                width=4,
                steps={1: BAD},
            ),
            number(
                "Known answers, last right",
                "How long ago the engine in use last gave its known answers; by default they are asked every 6 hours.",
                f"time() - max(edge_cxr_known_answer_last_pass_timestamp_seconds{{{BOX}}} > 0)",
                "s",
                width=4,
                steps={90000: WARNS},
            ),
            number(
                "Known answers, wrong",
                "Failed known-answer tests since the start.",
                f'sum(edge_cxr_known_answer_tests_total{{{BOX}, outcome="failed"}})',
                "short",
                width=4,
                steps={1: BAD},
            ),
            heat_map(
                "Engine time",
                "How many radiographs the engine took how long for.",
                _INFER,
                "s",
            ),
            lines(
                "Known-answer tests",
                "By outcome, in the window before each point.",
                {"{{outcome}}": tests},
                "short",
                bars=True,
            ),
        ),
    )
