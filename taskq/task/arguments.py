"""Which arguments a function takes."""

from __future__ import annotations

import inspect


def positional_arity(signature: inspect.Signature) -> tuple[int, int] | None:
    """How few and how many positional arguments fit, if those alone can be enough."""
    parameters = signature.parameters.values()
    kinds = inspect.Parameter
    if any(p.kind is kinds.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return None
    plain = [
        p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    many = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    least = sum(p.default is p.empty for p in plain)
    return least, (1 << 30) if many else len(plain)
