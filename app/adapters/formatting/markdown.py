"""Markdown as language models write it (CommonMark, tables and strikethrough), parsed into blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.adapters.formatting.inline import inline
from app.adapters.formatting.nodes import (
    Align,
    Block,
    Fence,
    Heading,
    Inline,
    Listing,
    Paragraph,
    Quote,
    Rule,
    Table,
    Text,
)

DEEPEST = 40
"""Quotes in quotes; a list in a list counts twice. What is deeper is shown as it was written."""

# Control characters show nothing anywhere, and half of a surrogate pair can't be sent at all.
UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")


def cleaned(text: str) -> str:
    """With \\n as the only end of a line, and without what can't be shown."""
    return UNSHOWN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def tokens_of(text: str) -> list[Token]:
    """The blocks of a cleaned text; what is inside their lines is not looked at."""
    return parser().parse("\n".join(with_whole_cells(text.split("\n"))))


FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
CODE_WITH_BAR = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\1)[^\n])*?\|.*?(?<!`)\1(?!`)")
BAR = re.compile(r"(?<!\\)\|")


def with_whole_cells(lines: Sequence[str]) -> Iterator[str]:
    """In a table's row models write `a | b` in code as they would anywhere; the parser cuts the cell there, and drops
    what is then one too many. https://github.github.com/gfm/#example-200"""
    fence = ""
    for line in lines:
        found = FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and not line[found.end() :].strip():
            fence = ""
        if fence or not line.lstrip().startswith("|") or "`" not in line:
            yield line
        else:
            yield CODE_WITH_BAR.sub(lambda code: BAR.sub(r"\\|", code[0]), line)


@lru_cache(maxsize=1)
def parser() -> MarkdownIt:
    # No `reference`: models list their sources as `[1]: https://…`, which would vanish, and in a text that is split
    # the definition may be in another piece.
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": DEEPEST})
    return made.enable("table").disable(["reference", "inline"])


@dataclass(slots=True)
class Open:
    """A block that has begun and not ended yet."""

    token: Token | None
    blocks: list[Block] = field(default_factory=list[Block])
    items: list[tuple[Block, ...]] = field(default_factory=list[tuple[Block, ...]])
    rows: list[list[tuple[Inline, ...]]] = field(default_factory=list[list[tuple[Inline, ...]]])
    aligns: list[Align] = field(default_factory=list[Align])
    loose: bool = False


def parse(text: str) -> tuple[Block, ...]:
    """The blocks of a cleaned text."""
    lines = text.split("\n")
    stack = [Open(None)]
    for token in tokens_of(text):
        if token.nesting == 1:
            begin(token, stack)
        elif token.nesting == -1:
            end(token, stack, lines)
        else:
            add(token, stack)
    return tuple(stack[0].blocks)


def begin(token: Token, stack: list[Open]) -> None:
    match token.type:
        case "thead_open" | "tbody_open":
            pass
        case "tr_open":
            stack[-1].rows.append([])
        case "th_open" | "td_open":
            if token.type == "th_open":
                stack[-1].aligns.append(align(str(token.attrs.get("style", ""))))
        case "paragraph_open":
            # The paragraphs of a tight list are hidden: its items are only lines.
            if not token.hidden and stack[-1].token and stack[-1].token.type == "list_item_open":
                stack[-2].loose = True
        case _:
            stack.append(Open(token))


def align(style: str) -> Align:
    found = style.rpartition(":")[2]
    return "right" if found == "right" else "center" if found == "center" else "left"


def end(token: Token, stack: list[Open], lines: Sequence[str]) -> None:
    if token.type not in ENDS:
        return
    done = stack.pop()
    blocks = tuple(done.blocks) or tuple(left_out(done.token, lines))
    above = stack[-1]
    match token.type:
        case "heading_close":
            inner = blocks[0].inner if blocks and isinstance(blocks[0], Paragraph) else ()
            above.blocks.append(Heading(int(token.tag[1:]), inner))
        case "blockquote_close":
            above.blocks.append(Quote(blocks))
        case "list_item_close":
            above.items.append(blocks)
        case "bullet_list_close":
            above.blocks.append(Listing(None, tuple(done.items), done.loose))
        case "ordered_list_close":
            start = done.token.attrs.get("start", 1) if done.token else 1
            above.blocks.append(Listing(int(start), tuple(done.items), done.loose))
        case "table_close":
            above.blocks.append(Table(tuple(done.aligns), tuple(tuple(row) for row in done.rows)))


ENDS = {f"{name}_close" for name in ("heading", "blockquote", "list_item", "bullet_list", "ordered_list", "table")}


def left_out(token: Token | None, lines: Sequence[str]) -> list[Block]:
    """The parser leaves out what is too deep. Rather show it as it was written."""
    if token is None or token.map is None or token.level < DEEPEST - 1:
        return []
    source = "\n".join(line.strip() for line in lines[token.map[0] : token.map[1]])
    return [Paragraph((Text(source),))]


def add(token: Token, stack: list[Open]) -> None:
    above = stack[-1]
    match token.type:
        case "inline" if above.token and above.token.type == "table_open":
            above.rows[-1].append(inline(token.content))
        case "inline":
            above.blocks.append(Paragraph(inline(token.content)))
        case "fence" | "code_block":
            language, _, _ = token.info.strip().partition(" ")
            above.blocks.append(Fence(token.content.removesuffix("\n"), language))
        case "hr":
            above.blocks.append(Rule())
