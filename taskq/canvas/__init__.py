"""Composing work: signatures, chains, groups and chords."""

from taskq.canvas.chain import chain
from taskq.canvas.chord import chord
from taskq.canvas.group import group
from taskq.canvas.maps import chunks, xmap, xstarmap
from taskq.canvas.signature import Signature, maybe_signature, signature
from taskq.canvas.stamping import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "xmap",
    "xstarmap",
]
