"""Jobs: what is due, what becomes of it, and the runs that come of it."""
