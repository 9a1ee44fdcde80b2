"""The demo: the referral service runs, parts of it are killed in the middle of their work, and nothing is lost.

`make demo`, or `python -m example_project.demo [redis://…]`. A terminal shows a live
table, anything else a line per event.
"""
