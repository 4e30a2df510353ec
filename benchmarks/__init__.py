"""Benchmarks of taskq and its peers, measured in one run on one machine.

See `benchmarks/README.md` for the method, `python -m benchmarks list` for what can be measured.
"""
