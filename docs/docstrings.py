"""Docstrings as the API pages show them; they are written for readers of the code."""

import re
from typing import Any

import griffe

_TABLE = re.compile(r"^(=+(?: +=+)+)\n.*?\n\1\n.*?\n\1$", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")


class Readable(griffe.Extension):
    """Keeps tables in shape, drops roles, and shows each name once: in the module that defines it."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Tables become blocks of code, as they are drawn for."""
        if obj.docstring:
            fenced = _TABLE.sub(r"```text\n\g<0>\n```", obj.docstring.value)
            obj.docstring.value = _ROLE.sub(r"`\1`", fenced)

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """What a package hands on from its modules is shown there."""
        mod.exports = None
