"""The rules of processes and steps: standard library and msgspec's records, no I/O, `now_ms` always an argument."""
