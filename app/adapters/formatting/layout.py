"""Blocks written as lines. What differs between the providers is their dialect's to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple, assert_never

from app.adapters.formatting.inline import without_style, words
from app.adapters.formatting.markdown import cleaned, parse
from app.adapters.formatting.nodes import (
    Block,
    Break,
    Code,
    Fence,
    Heading,
    Inline,
    Link,
    Listing,
    Paragraph,
    Quote,
    Rule,
    Style,
    Styled,
    Table,
    Text,
)
from app.adapters.formatting.table import aligned


class Line(NamedTuple):
    text: str
    fixed: bool = False
    """Starts at the border: the lists that it is in don't indent it."""


EMPTY = Line("")


class Side(NamedTuple):
    """Where a piece of a line touches its neighbour."""

    character: str
    formatted: bool


class Dialect(ABC):
    """How one provider writes it."""

    schemes: ClassVar[Sequence[str]] = ("http:", "https:")
    """Other links are only text."""
    bullet: ClassVar[str] = "•"
    indent: ClassVar[int | None] = None
    """Of a list in a list; None: as far as the text of the item above it."""
    largest_heading: ClassVar[int] = 0
    """Deeper headings are bold lines."""

    @abstractmethod
    def text(self, text: str) -> str:
        """So that it is read as it stands, wherever in a line that is."""

    @abstractmethod
    def code(self, code: str) -> str: ...

    @abstractmethod
    def styled(self, style: Style, inner: str) -> str: ...

    @abstractmethod
    def link(self, link: Link, label: str) -> str:
        """A link of one of the schemes; the label is empty for a bare one."""

    @abstractmethod
    def fence(self, code: str, language: str) -> list[Line]: ...

    @abstractmethod
    def quote(self, lines: Sequence[Line]) -> list[Line]: ...

    def label(self, link: Link) -> str:
        """What stands for a link."""
        return one_line(pieces(link.inner, self))

    def between(self, left: Side, right: Side) -> str:  # noqa: ARG002 (most need nothing)
        """What keeps two neighbours in a line apart, where they would be read wrongly."""
        return ""

    def started(self, line: str) -> str:
        """A line of text, so that its beginning is not taken for formatting."""
        return line

    def heading(self, level: int, line: str) -> str:
        return f"{'#' * level} {line}"


def render(text: str, dialect: Dialect) -> str:
    text = cleaned(text)
    found = "\n".join(line.text for line in blocks(parse(text), dialect, 0)).strip("\n")
    # An answer that is all markup, such as a fence with nothing in it, is not sent as nothing.
    return found if found.strip() else "\n".join(plain_lines(text.strip(), dialect))


def blocks(found: Iterable[Block], dialect: Dialect, quotes: int, close: tuple[type, ...] = ()) -> list[Line]:
    """One under the other, with an empty line between all but the `close` ones. `quotes`: how many they are in."""
    lines: list[Line] = []
    for each in found:
        part = block(each, dialect, quotes)
        if lines and part and not isinstance(each, close):
            lines.append(EMPTY)
        lines += part
    return lines


def block(node: Block, dialect: Dialect, quotes: int) -> list[Line]:
    match node:
        case Paragraph():
            return [Line(dialect.started(line)) for line in pieces(node.inner, dialect).split("\n") if line.strip()]
        case Heading():
            return heading(node, dialect)
        case Quote():
            return quoted(blocks(node.inner, dialect, quotes + 1), dialect, quotes)
        case Listing():
            return listing(node, dialect, quotes)
        case Fence():
            return dialect.fence(node.code, node.language) if node.code.strip() else []
        case Table():
            rows = [[words(cell, urls=True).strip() for cell in row] for row in node.rows]
            return dialect.fence(aligned(rows, node.aligns), "") if any(map(any, rows)) else []
        case Rule():
            return [Line("———")]
        case _:
            assert_never(node)


def heading(node: Heading, dialect: Dialect) -> list[Line]:
    if node.level <= dialect.largest_heading:
        line = one_line(pieces(node.inner, dialect))
        return [Line(dialect.heading(node.level, line))] if line else []
    bold = Styled("bold", without_style(node.inner, "bold"))
    line = one_line(pieces([bold], dialect))
    return [Line(dialect.started(line))] if line else []


def quoted(lines: list[Line], dialect: Dialect, quotes: int) -> list[Line]:
    """No provider has quotes in quotes: the inner ones are marked as in a mail."""
    if not any(line.text.strip() for line in lines):
        return []
    if quotes == 0:
        return dialect.quote(lines)
    mark = dialect.text("> ")
    return [line if line.fixed else Line(dialect.started(mark + line.text)) for line in lines]


def listing(node: Listing, dialect: Dialect, quotes: int) -> list[Line]:
    lines: list[Line] = []
    for number, item in enumerate(node.items, node.start or 0):
        marker = dialect.bullet if node.start is None else f"{number}."
        inner = blocks(item, dialect, quotes, close=(Listing,) if node.loose else (object,))
        if lines and node.loose:
            lines.append(EMPTY)
        lines += marked(inner, marker, len(marker) + 1 if dialect.indent is None else dialect.indent)
    return lines


def marked(lines: Sequence[Line], marker: str, indent: int) -> Iterator[Line]:
    """The lines of one item."""
    if not lines or lines[0].fixed:
        yield Line(marker)
    else:
        yield Line(f"{marker} {lines[0].text}")
        lines = lines[1:]
    for line in lines:
        yield line if line.fixed or not line.text else Line(" " * indent + line.text)


def pieces(nodes: Sequence[Inline], dialect: Dialect) -> str:
    written, left = "", None
    for node in nodes:
        part, formatted = piece(node, dialect), isinstance(node, Styled | Code)
        if part:
            if left:
                written += dialect.between(left, Side(part[0], formatted))
            written, left = written + part, Side(part[-1], formatted)
    return written


def piece(node: Inline, dialect: Dialect) -> str:
    match node:
        case Text():
            return dialect.text(node.text)
        case Code():
            return dialect.code(node.code) if node.code.strip() else node.code
        case Break():
            return "\n"
        case Styled():
            inner = pieces(node.inner, dialect)
            return dialect.styled(node.style, inner) if inner.strip() else inner
        case Link():
            return linked(node, dialect)
        case _:
            assert_never(node)


def linked(node: Link, dialect: Dialect) -> str:
    if node.url.lower().startswith(tuple(dialect.schemes)):
        return dialect.link(node, "" if node.bare else dialect.label(node))
    label = pieces(node.inner, dialect)
    url = node.url[len("mailto:") :] if node.url.lower().startswith("mailto:") else node.url
    # A place that no provider leads to (a file's path, a phone number) is worth reading all the same.
    shown = dialect.text(url)
    return label if node.bare or shown in ("", label) else f"{label} ({shown})"


def one_line(text: str) -> str:
    return " ".join(text.split("\n")).strip()


def plain_lines(text: str, dialect: Dialect) -> Iterator[str]:
    """Each line as text."""
    return (dialect.started(dialect.text(line)) for line in text.split("\n"))
