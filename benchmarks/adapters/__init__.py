"""One module per task queue, each run inside that queue's own virtual environment.

Nothing here may import more than the standard library, the queue itself and `benchmarks.marks`:
the environments of the peers hold nothing else.
"""
