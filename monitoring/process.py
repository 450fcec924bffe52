"""The lower half of the latency dashboard: the process, what was changed while it ran, the candidate, and the host."""

from monitoring.panels import BOX, WARNS, Section, lines, number, quantile

_INFER = f'edge_cxr_stage_duration_seconds_bucket{{{BOX}, stage="infer"}}'


def process() -> Section:
    return Section(
        "Process",
        (
            lines(
                "Memory",
                "Resident memory of the daemon, without its decode workers.",
                {"{{instance}}": f"process_resident_memory_bytes{{{BOX}}}"},
                "decbytes",
                width=8,
            ),
            lines(
                "CPU",
                "Processors that the daemon keeps busy, without its decode workers.",
                {"{{instance}}": f"rate(process_cpu_seconds_total{{{BOX}}}[$__rate_interval])"},
                "short",
                width=8,
            ),
            lines(
                "Open descriptors",
                "Of the daemon, as a share of how many it may open.",
                {"{{instance}}": f"process_open_fds{{{BOX}}} / process_max_fds"},
                "percentunit",
                width=8,
            ),
            number(
                "Runs since",
                "How long ago the daemon started.",
                f"time() - max(process_start_time_seconds{{{BOX}}})",
                "s",
                width=8,
            ),
            number(
                "Starts in the time shown",
                "How often the daemon started again.",
                f"sum(changes(process_start_time_seconds{{{BOX}}}[$__range]))",
                "short",
                width=8,
                steps={3: WARNS},
            ),
            number(
                "Decode workers replaced",
                "Since the start; each was killed, stalled or confused by a file.",
                f"sum(edge_cxr_decode_workers_replaced_total{{{BOX}}})",
                "short",
                width=8,
                steps={4: WARNS},
            ),
        ),
    )


def changes() -> Section:
    shadow = f"edge_cxr_shadow_infer_seconds_bucket{{{BOX}}}"
    return Section(
        "Changes, and the candidate in the shadow",
        (
            lines(
                "Configuration and bundle",
                "Reloads and switches of bundle since the start, by outcome. Refused ones changed nothing.",
                {
                    "reload {{outcome}}": f"sum by (outcome) (edge_cxr_reloads_total{{{BOX}}})",
                    "bundle {{outcome}}": f"sum by (outcome) (edge_cxr_bundle_switches_total{{{BOX}}})",
                },
                "short",
                width=8,
            ),
            lines(
                "Candidate against active bundle",
                "Radiographs since the start, by what the candidate said. flipped: it decides otherwise. "
                "skipped: no time was left. All 0 without a candidate.",
                {"{{outcome}}": f"sum by (outcome) (edge_cxr_shadow_studies_total{{{BOX}}})"},
                "short",
                width=8,
            ),
            lines(
                "Candidate: radiographs by difference of score",
                "How many radiographs' scores differ by no more than this, since the start. All 0 without a candidate.",
                {"up to {{le}}": f"sum by (le) (edge_cxr_shadow_score_difference_bucket{{{BOX}}})"},
                "short",
                width=8,
            ),
            lines(
                "Engine time: candidate and active",
                "95th percentile over the window before each point. The candidate's is there while it scores.",
                {
                    "active": quantile(0.95, _INFER),
                    "candidate": quantile(0.95, shadow),
                },
                "s",
                width=24,
            ),
        ),
    )


def host() -> Section:
    """Of exporters beside the box, which know it by the host's name alone: these panels show all that are scraped."""
    return Section(
        "Host and GPU (node_exporter, dcgm-exporter)",
        (
            lines(
                "CPU busy",
                "Share of all processors, from node_exporter.",
                {"{{instance}}": '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))'},
                "percentunit",
                width=8,
                highest=1,
            ),
            lines(
                "Memory available",
                "From node_exporter.",
                {"{{instance}}": "node_memory_MemAvailable_bytes"},
                "bytes",
                width=8,
            ),
            lines(
                "Clock",
                "How far the host's clock is off, from node_exporter.",
                {"{{instance}}": "node_timex_offset_seconds"},
                "s",
                width=8,
            ),
            lines(
                "GPU busy",
                "From dcgm-exporter.",
                {"{{instance}} GPU {{gpu}}": "DCGM_FI_DEV_GPU_UTIL"},
                "percent",
                width=8,
                highest=100,
            ),
            lines(
                "GPU memory",
                "Used, from dcgm-exporter.",
                {"{{instance}} GPU {{gpu}}": "DCGM_FI_DEV_FB_USED"},
                "decmbytes",
                width=8,
            ),
            lines(
                "GPU temperature",
                "From dcgm-exporter. A GPU that grows hot is slowed down.",
                {"{{instance}} GPU {{gpu}}": "DCGM_FI_DEV_GPU_TEMP"},
                "celsius",
                width=8,
            ),
        ),
        closed=True,
    )
