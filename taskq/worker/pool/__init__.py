"""The pools: where a worker runs its tasks."""
