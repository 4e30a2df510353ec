"""Results as messages to whoever has sent the task."""

from taskq.backends.rpc.backend import RpcBackend

__all__ = ["RpcBackend"]
