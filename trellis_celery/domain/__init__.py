"""The rules of processes and steps: the standard library and records of msgspec, no I/O, `now_ms` always an argument."""
