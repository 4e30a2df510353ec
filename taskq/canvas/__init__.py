"""Composing work: signatures, chains, groups and chords."""

from taskq.canvas.chain import chain
from taskq.canvas.chord import chord
from taskq.canvas.group import group
from taskq.canvas.signature import Signature, maybe_signature, signature

__all__ = ["Signature", "chain", "chord", "group", "maybe_signature", "signature"]
