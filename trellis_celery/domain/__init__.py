"""The rules of processes and steps: standard library only, no I/O, `now_ms` always an argument."""
