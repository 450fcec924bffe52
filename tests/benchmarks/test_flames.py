"""What the table beside a flame graph says of it."""

from benchmarks.flames import functions

SVG = """<svg>
<g><title>process 12:"edge-cxr watch" (1,200 samples, 100.00%)</title></g>
<g><title>Scoring._unless_stopped.&lt;locals&gt;.guarded (edge/scoring.py:229) (900 samples, 75.00%)</title></g>
<g><title>snapshot (edge/snapshot.py:60) (60 samples, 5.00%)</title></g>
<g><title>snapshot (edge/snapshot.py:64) (1 sample, 0.08%)</title></g>
</svg>"""


def test_functions_by_their_share_whatever_line_and_stack_they_were_seen_at() -> None:
    assert functions(SVG) == [
        {"function": "Scoring._unless_stopped.<locals>.guarded (edge/scoring.py)", "share": 0.75},
        {"function": "snapshot (edge/snapshot.py)", "share": 0.0508},
    ]
