"""``taskq multi``: several workers on one machine, started and stopped together."""
