"""The brokers, each behind the contract of `taskq.brokers.base`."""
