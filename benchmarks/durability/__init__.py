"""The proof that nothing is lost: kills, power cuts, failing disks, loads and a soak.

Run by `python -m benchmarks.durability`, or `make durability` and `make soak`; README.md says what each part shows.
box.py runs the real daemon with a fake engine and decoder, forks.py starts it in milliseconds, strace.py watches and
breaks its system calls, invariant.py says what must hold, and disk.py knows what a power cut may leave. kills.py,
power.py, faults.py, load.py and soak.py are the proofs; mutants.py holds the broken boxes that they must catch.
"""
