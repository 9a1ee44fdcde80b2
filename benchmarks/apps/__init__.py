"""The Celery apps of the benchmarks: default settings of trellis throughout."""
