"""The result stores, each behind the contract of `taskq.backends.base`."""
