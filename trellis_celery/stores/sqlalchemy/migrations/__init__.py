"""The Alembic environment of `trellis_version`."""
