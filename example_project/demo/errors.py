"""Why a demo ends before its end. Each message is meant for the person who started it."""


class DemoError(Exception):
    """Something is wrong that the person can read about."""


class Interrupted(DemoError):
    """Ctrl-C, a closed terminal, or a polite kill."""
