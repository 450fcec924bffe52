"""The dashboard for the hospital's engineer: is it well, what waits, what was scored and refused, and why."""

from monitoring.panels import BAD, BOX, GOOD, PLAIN, WARNS, Section, bars, heat_map, lines, listing, number, quantile

_DAY_S = 86400
_WHOLE = f"edge_cxr_end_to_end_seconds_bucket{{{BOX}}}"
_NOT_SCORED = f'edge_cxr_studies_total{{{BOX}, status="not_scored"}}'


def overview() -> list[Section]:
    return [_well(), _work(), _cases()]


def _well() -> Section:
    yes_no = {"0": ("no", BAD), "1": ("yes", GOOD)}
    return Section(
        "Is it well?",
        (
            number("Answers", "Whether Prometheus reaches the box.", f"min(up{{{BOX}}})", "none", says=yes_no),
            number(
                "Ready",
                "Whether the engine in use gave its known answers. Nothing is scored before.",
                f"min(edge_cxr_ready{{{BOX}}})",
                "none",
                says=yes_no,
            ),
            number(
                "Alerts",
                "Alerts that fire now, without the dead-man, which always does.",
                'count(ALERTS{alertname=~"EdgeCxr.+", alertstate="firing", severity!="none"}) or vector(0)',
                "none",
                steps={1: WARNS},
            ),
            number(
                "Files waiting",
                "Files of the incoming folder that have no result yet.",
                f"sum(edge_cxr_waiting_files{{{BOX}}})",
                "short",
                steps={20: WARNS},
            ),
            number(
                "Longest wait",
                "How long the oldest of them has waited. An alert comes after 10 minutes, after 5 if none is scored.",
                f"max(edge_cxr_oldest_waiting_seconds{{{BOX}}})",
                "s",
                steps={300: WARNS, 600: BAD},
            ),
            number(
                "Last radiograph",
                "How long ago a new radiograph was taken. An alert comes after a day.",
                f"time() - max(edge_cxr_last_arrival_timestamp_seconds{{{BOX}}} > 0)",
                "s",
                steps={_DAY_S: WARNS},
            ),
            number(
                "Last score",
                "How long ago a radiograph was last scored. If one came later, it was refused or waits.",
                f"time() - max(edge_cxr_last_success_timestamp_seconds{{{BOX}}} > 0)",
                "s",
                steps={_DAY_S: WARNS},
            ),
            number(
                "Scored by",
                "The engine in use: tensorrt is the GPU, openvino the CPU.",
                f"edge_cxr_backend_active{{{BOX}}} == 1",
                "none",
                legend="{{backend}} {{precision}}",
                named=True,
            ),
            listing(
                "Alerts firing",
                "What to do is in docs/runbook.md. EdgeCxrDeadMan always stands here: without it no rule is evaluated.",
                'ALERTS{alertname=~"EdgeCxr.+", alertstate="firing"}',
                {
                    "severity": "Severity",
                    "alertname": "Alert",
                    "instance": "Box",
                    "reason": "Reason",
                    "signal": "Signal",
                },
                width=12,
            ),
            listing(
                "What runs",
                "Program and bundle of each box. The bundle's id, of which this is the beginning, is in every result.",
                f"edge_cxr_build_info{{{BOX}}}",
                {"instance": "Box", "version": "Version", "bundle": "Bundle", "bundle_id": "Bundle id"},
                width=12,
            ),
        ),
    )


def _work() -> Section:
    return Section(
        "What was scored, what was refused, and why",
        (
            lines(
                "Results",
                "Results in the window before each point: with a score, and without.",
                {"{{status}}": f"sum by (status) (increase(edge_cxr_studies_total{{{BOX}}}[$window]))"},
                "short",
                stacked=True,
            ),
            bars(
                "Without a score, by reason",
                "Over the time range shown. What each reason means, and what to do, is in docs/reasons.md.",
                f"sort_desc(sum by (reason) (increase({_NOT_SCORED}[$__range])) > 0)",
                "short",
                "{{reason}}",
                width=12,
            ),
            lines(
                "Time to result",
                "From the complete file to its result written and recorded.",
                {
                    "half within": quantile(0.5, _WHOLE),
                    "95 % within": quantile(0.95, _WHOLE),
                },
                "s",
            ),
            lines(
                "Waiting",
                "Files that have no result yet.",
                {"{{instance}}": f"edge_cxr_waiting_files{{{BOX}}}"},
                "short",
            ),
            heat_map(
                "Scores", "How often each score was given, in steps of 0.05.", f"edge_cxr_score_bucket{{{BOX}}}", "none"
            ),
            lines(
                "Trouble with files",
                "In the window before each point: files put into quarantine, and decode workers that a file undid; "
                "and files that cannot be opened now.",
                {
                    "into quarantine": f"sum(increase(edge_cxr_quarantined_total{{{BOX}}}[$window]))",
                    "workers replaced": f"sum(increase(edge_cxr_decode_workers_replaced_total{{{BOX}}}[$window]))",
                    "cannot be opened": f"sum(edge_cxr_unopenable_files{{{BOX}}})",
                },
                "short",
            ),
        ),
    )


def _cases() -> Section:
    return Section(
        "Radiographs, cases and disk",
        (
            lines(
                "Drift: distance from the reference, as a share of its limit",
                "Above 100 % the last 200 radiographs are not like the reference in this signal: docs/trust.md. "
                "A signal appears once it has a reference and 50 radiographs.",
                {"{{signal}}": f"max by (signal) (edge_cxr_drift_score{{{BOX}}} / edge_cxr_drift_limit)"},
                "percentunit",
                limit=1,
            ),
            lines(
                "Disk of the state folder",
                "Free space, the reserve at which nothing more is taken, and the ledger.",
                {
                    "free": f"min(edge_cxr_disk_free_bytes{{{BOX}}})",
                    "reserve": f"max(edge_cxr_disk_reserve_bytes{{{BOX}}})",
                    "ledger": f"max(edge_cxr_ledger_bytes{{{BOX}}})",
                },
                "decbytes",
            ),
            number(
                "Cases",
                "Cases in the ledger, whatever their result.",
                f"sum(edge_cxr_ledger_cases{{{BOX}}})",
                "short",
                width=4,
            ),
            number(
                "Can be found",
                "Cases that can be found as similar: the bundle's reference set, and earlier ones if included.",
                f"sum(edge_cxr_index_vectors{{{BOX}}})",
                "short",
                width=4,
            ),
            number(
                "Of other bundles",
                "Scored cases that another bundle judged, which the index of this one does not hold.",
                f"sum(edge_cxr_cases_of_other_bundles{{{BOX}}})",
                "short",
                width=4,
                steps={1: PLAIN},
            ),
            number(
                "Index",
                "Whether the index of earlier cases holds all of them.",
                f"max(edge_cxr_index_pending{{{BOX}}})",
                "none",
                width=4,
                says={"0": ("complete", GOOD), "1": ("being rebuilt", WARNS)},
            ),
            number(
                "Sandbox",
                "Whether the kernel has every layer that confines the decode workers.",
                f"min(edge_cxr_sandbox{{{BOX}}})",
                "none",
                width=4,
                says={"0": ("incomplete", WARNS), "1": ("complete", GOOD)},
            ),
            number(
                "Intake",
                "Paused at the disk's reserve, or while the incoming folder cannot be read.",
                f"max(edge_cxr_intake_paused{{{BOX}}})",
                "none",
                width=4,
                says={"0": ("open", GOOD), "1": ("paused", BAD)},
            ),
        ),
    )
