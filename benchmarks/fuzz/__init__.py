"""The proof that no file can hurt the box: mutated files by the hundred thousand, through workers and daemon.

Run by `python -m benchmarks.fuzz`, or `make fuzz`; docs/security.md says what it shows. corpus.py has the files that
all others are made of (*_seeds.py), mutate.py spoils them (*_edits.py know the structures), workers.py and box.py are
the campaigns, guided.py follows coverage, canary.py looks for names, and mutants.py holds the broken workers and boxes
that they must catch.
"""
