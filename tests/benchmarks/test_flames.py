"""What the table beside a flame graph says of it."""

from benchmarks.flames import functions, named_by_their_work

SVG = """<svg>
<g><title>process 12:"edge-cxr watch" (1,200 samples, 100.00%)</title><rect x="0%" y="4" fg:x="0" fg:w="1200"/></g>
<g><title>a.&lt;locals&gt;.step (edge/line.py:229) (900 samples, 75.00%)</title><rect y="20" fg:x="0" fg:w="900"/></g>
<g><title>allocate (edge/cuda.py:60) (60 samples, 5.00%)</title><rect x="75%" y="20" fg:x="900" fg:w="60"/></g>
<g><title>allocate (edge/cuda.py:64) (30 samples, 2.50%)</title><rect x="75%" y="36" fg:x="910" fg:w="30"/></g>
<g><title>allocate (edge/cuda.py:64) (1 sample, 0.08%)</title><rect x="90%" y="20" fg:x="1100" fg:w="1"/></g>
</svg>"""


def test_functions_by_their_share_whatever_line_and_stack_they_were_seen_at() -> None:
    """Samples in which a function calls itself count once."""
    assert functions(SVG) == [
        {"function": "a.<locals>.step (edge/line.py)", "share": 0.75},
        {"function": "allocate (edge/cuda.py)", "share": 0.0508},
    ]


def test_no_path_of_the_machine_is_kept() -> None:
    process = "process 27:&quot;/opt/x/python -m edge.cli watch /tmp/a/incoming&quot;"
    svg = f"<text>/opt/x/py-spy record --pid 27 --output /tmp/a.svg</text><title>{process} (3 samples, 9%)</title>"
    told = named_by_their_work(f"{svg}<text>process 28:&quot;/opt/x/p..</text>")
    assert told == ("<text>edge-cxr watch</text><title>process 27: edge.cli (3 samples, 9%)</title>"
                    "<text>process 28..</text>")  # fmt: skip
