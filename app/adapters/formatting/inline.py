"""The pieces of a line: emphasis, code, links. What looks like formatting and is none is text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.adapters.formatting.nodes import Break, Code, Inline, Link, Style, Styled, Text

DEEPEST = 12
"""Brackets in brackets are text from there on. The parser looks at each bracket that many times."""

STYLES: dict[str, Style] = {"strong": "bold", "em": "italic", "s": "strike"}


@dataclass(slots=True)
class Open:
    """What has begun and not ended yet."""

    style: Style | None = None
    url: str | None = None
    """Of a link; with neither, this is only there to find its end."""
    auto: bool = False
    inner: list[Inline] = field(default_factory=list[Inline])

    def closed(self) -> list[Inline]:
        if self.url is not None:
            return [link(self.url, tuple(self.inner), auto=self.auto)]
        if self.style is not None:
            return [Styled(self.style, tuple(self.inner))] if self.inner else []
        return self.inner


# Splitting renders the same paragraphs again and again, and nine tenths of the time are spent here.
@lru_cache(maxsize=1024)
def inline(source: str) -> tuple[Inline, ...]:
    """The pieces of one paragraph, heading or cell."""
    tokens: list[Token] = []
    made = parser()
    made.inline.parse(source, made, {}, tokens)
    return nested(tokens)


@lru_cache(maxsize=1)
def parser() -> MarkdownIt:
    options = {"html": False, "maxNesting": DEEPEST}
    return MarkdownIt("commonmark", options).enable("strikethrough")


def nested(tokens: Sequence[Token]) -> tuple[Inline, ...]:
    """The tree of a flat list. Without recursion: a model may open a thousand emphases."""
    stack = [Open()]
    for token in tokens:
        if token.nesting == 1:
            stack.append(opened(token, stack))
        elif token.nesting == -1:
            done = stack.pop().closed()
            stack[-1].inner.extend(done)
        else:
            add(stack[-1].inner, token, linked=any(each.url is not None for each in stack))
    return tuple(stack[0].inner)


def opened(token: Token, stack: Sequence[Open]) -> Open:
    if token.type == "link_open":
        inside = any(each.url is not None for each in stack)
        url = str(token.attrs.get("href", ""))
        return Open(url=None if inside else url, auto=token.markup == "autolink")
    style = STYLES.get(token.type.removesuffix("_open"))
    return Open(style=None if any(each.style == style for each in stack) else style)


def add(inner: list[Inline], token: Token, *, linked: bool) -> None:
    """One token that has no end of its own. Texts side by side become one. In a link, an image is its words."""
    match token.type:
        case "code_inline":
            inner.append(Code(token.content))
        case "softbreak" | "hardbreak":
            inner.append(Break())
        case "image":
            alt = "".join(each.content for each in token.children or ())
            said = (Text(alt),) if alt else ()
            inner.extend(said if linked else [link(str(token.attrs.get("src", "")), said, auto=False)])
        case _ if token.content and inner and isinstance(inner[-1], Text):
            inner[-1] = Text(inner[-1].text + token.content)
        case _ if token.content:
            inner.append(Text(token.content))


def link(url: str, inner: tuple[Inline, ...], *, auto: bool) -> Link:
    said = words(inner).strip()
    same = said in {"", url, unquote(url), url.removeprefix("mailto:")}
    return Link(url, inner, bare=auto or same)


def words(nodes: Sequence[Inline], *, urls: bool = False) -> str:
    """Only what is written there; on demand with the addresses of links."""
    found = []
    for node in nodes:
        match node:
            case Text():
                found.append(node.text)
            case Code():
                found.append(node.code)
            case Break():
                found.append(" ")
            case Styled() | Link():
                found.append(words(node.inner, urls=urls))
        if urls and isinstance(node, Link) and node.url.startswith(("http:", "https:")):
            found[-1] = f"{found[-1]} ({node.url})" if not node.bare else node.url
    return "".join(found)


def without_style(nodes: Sequence[Inline], style: Style) -> tuple[Inline, ...]:
    """For a place that has this style anyway."""
    found: list[Inline] = []
    for node in nodes:
        if isinstance(node, Styled):
            inner = without_style(node.inner, style)
            found.extend(inner if node.style == style else [Styled(node.style, inner)])
        elif isinstance(node, Link):
            found.append(Link(node.url, without_style(node.inner, style), node.bare))
        else:
            found.append(node)
    return tuple(found)
