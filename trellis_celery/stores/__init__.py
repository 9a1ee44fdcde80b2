"""Where processes are kept: one adapter of `ports.ProcessStore` for each kind of database."""
