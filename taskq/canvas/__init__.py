"""Composing work: signatures and chains."""

from taskq.canvas.chain import chain
from taskq.canvas.signature import Signature

__all__ = ["Signature", "chain"]
