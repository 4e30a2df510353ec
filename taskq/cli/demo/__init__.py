"""``taskq demo``: a real worker, a mixed load, and what becomes of it."""
