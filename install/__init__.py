"""Puts edge-cxr onto a machine: a wheelhouse, versions side by side below /opt/edge-cxr, units, the way back.

Needs Python 3.11 and nothing else, as a bare box has it; to make a wheelhouse also venv with ensurepip. Nothing here
imports another package of ours.
"""
