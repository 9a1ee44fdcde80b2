"""Where events go after they were written: each module is an `EventSink`."""
