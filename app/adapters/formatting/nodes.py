"""What a Markdown text is made of: frozen blocks, and frozen pieces of a line inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["bold", "italic", "strike"]
Align = Literal["left", "center", "right"]


@dataclass(frozen=True, slots=True)
class Text:
    """As a person reads it: nothing in it is formatting."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    code: str


@dataclass(frozen=True, slots=True)
class Break:
    """A new line inside a paragraph."""


@dataclass(frozen=True, slots=True)
class Styled:
    """No style is ever inside itself, so this is at most three deep."""

    style: Style
    inner: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A link or an image. No link is inside another."""

    url: str
    inner: tuple[Inline, ...]
    bare: bool = False
    """The text says no more than the address."""


Inline = Text | Code | Break | Styled | Link


@dataclass(frozen=True, slots=True)
class Paragraph:
    inner: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    inner: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    inner: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list; `start` is the first number, None for bullets."""

    start: int | None
    items: tuple[tuple[Block, ...], ...]
    loose: bool
    """Its items have empty lines between them."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code."""

    code: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The first row is the head; all rows have the same number of cells."""

    aligns: tuple[Align, ...]
    rows: tuple[tuple[tuple[Inline, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal line."""


Block = Paragraph | Heading | Quote | Listing | Fence | Table | Rule
