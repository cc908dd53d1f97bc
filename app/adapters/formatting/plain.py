"""Without any formatting, for when a provider refuses ours."""

from __future__ import annotations

from collections.abc import Sequence

from app.adapters.formatting.layout import Dialect, Line, render
from app.adapters.formatting.nodes import Link, Style


def plain(text: str) -> str:
    """Markdown as a person would write it on a typewriter: lists and tables stay, links are `text (url)`."""
    return render(text, Plain())


class Plain(Dialect):
    def text(self, text: str) -> str:
        return text

    def code(self, code: str) -> str:
        return code

    def styled(self, style: Style, inner: str) -> str:  # noqa: ARG002 (none is shown)
        return inner

    def link(self, link: Link, label: str) -> str:
        return f"{label} ({link.url})" if label else link.url

    def fence(self, code: str, language: str) -> list[Line]:  # noqa: ARG002 (not shown)
        return [Line(line, fixed=True) for line in code.split("\n")]

    def quote(self, lines: Sequence[Line]) -> list[Line]:
        return [Line(f"> {line.text}".rstrip(), fixed=True) for line in lines]
