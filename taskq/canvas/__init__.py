"""Composing work: signatures and chains."""

from taskq.canvas.chain import chain
from taskq.canvas.signature import Signature, maybe_signature, signature

__all__ = ["Signature", "chain", "maybe_signature", "signature"]
