"""Parts of the reference that are made from the code.

``taskq-settings`` lists every setting from the place where it is declared, ``taskq-signals`` every
signal with the comment above it. Module docstrings are written to be read in an editor: an indented
block in them is code, here too.
"""

from __future__ import annotations

import types
import typing
from itertools import groupby
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from taskq import signals
from taskq.settings import SETTINGS, Setting


class SettingsDirective(SphinxDirective):
    """A section for each group of settings, with name, type, default and meaning of each."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for group, settings in groupby(sorted(SETTINGS.values(), key=_order), key=_group):
            lines += [f"## {group.capitalize()}", ""]
            for setting in settings:
                lines += _entry(setting)
        return self.parse_text_to_nodes(
            StringList(lines, source="settings"), allow_section_headings=True
        )


def _order(setting: Setting[Any]) -> tuple[bool, str, str]:
    return setting.group != "general", setting.group, setting.name


def _group(setting: Setting[Any]) -> str:
    return setting.group


def _entry(setting: Setting[Any]) -> list[str]:
    default = f"``{setting.default!r}``"
    return [
        f"(setting-{setting.name})=",
        f"### `{setting.name}`",
        "",
        setting.doc,
        "",
        f"*Type:* {type_name(setting.type)}. *Default:* {default}",
        "",
    ]


def type_name(kind: Any) -> str:
    """A type in words: ``tuple[str, ...] | None`` is "list of str, or None"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return " ".join([type_name(arguments[0]), *(f"({note})" for note in kind.__metadata__)])
    if origin in (types.UnionType, typing.Union):
        return ", or ".join(type_name(part) for part in arguments)
    if origin in (tuple, list):
        return f"list of {type_name(arguments[0])}"
    if origin is not None:
        return str(origin.__name__)
    if kind is Any:
        return "any"
    return "None" if kind is type(None) else str(kind.__name__)


class SignalsDirective(SphinxDirective):
    """A list of signals; each with its keyword arguments and its sender."""

    def run(self) -> list[nodes.Node]:
        comments = ModuleAnalyzer.for_module(signals.__name__).find_attr_docs()
        lines: list[str] = []
        for (scope, name), comment in comments.items():
            if not scope and isinstance(getattr(signals, name), signals.Signal):
                lines += [f"`{name}`", f": {' '.join(comment).strip()}", ""]
        return self.parse_text_to_nodes(StringList(lines, source="signals"))


def mark_code(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Mark each indented block of a module's docstring as literal."""
    if what != "module":
        return
    marked: list[str] = []
    for number, line in enumerate(lines):
        starts_block = line.startswith("    ") and number > 1 and not lines[number - 1]
        previous = next((text for text in reversed(lines[:number]) if text), "")
        if starts_block and not previous.startswith(" ") and not previous.endswith("::"):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("taskq-settings", SettingsDirective)
    app.add_directive("taskq-signals", SignalsDirective)
    app.connect("autodoc-process-docstring", mark_code, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
