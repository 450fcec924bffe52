"""`edge-cxr doctor`: is this machine fit to score? A line for each check, with what to do. Changes nothing.

Start at examination.py. What is asked of the machine itself is in machine.py, so that tests can hand in another.
"""
