"""A word of a script as bash would see it: quotes removed, braces expanded, what only a run can tell marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

ANY = "\0"
"""Stands for an unquoted expansion: any text, perhaps several words."""
ONE = "\2"
"""Stands for a quoted expansion: any text, within this word."""
QUOTED = "\1"
"""Before a character that was quoted; removed at the end."""
MOST_WORDS = 64
PATTERN = re.compile(r"(?<!\x01)[*?\[]")
INNERMOST_BRACES = re.compile(r"(?<!\x01)\{([^{}\x01]*(?:\x01.[^{}\x01]*)*)\}", re.DOTALL)
COMMA = re.compile(r"(?<!\x01),")
UNQUOTED_BLANK = re.compile(r"(?<!\\)\s")
HOME = ("$HOME", "${HOME}")
ALL_WORDS = re.compile(r"\$@|\$\{[^}]*@[^}]*\}")
"""Stands for several words also in quotes: "$@", "${array[@]}"."""


@dataclass(frozen=True, slots=True)
class Word:
    """`text` may hold ANY and ONE; `pattern`: it has an unquoted `*`, `?` or `[`."""

    text: str
    pattern: bool = False

    @property
    def known(self) -> bool:
        return ANY not in self.text and ONE not in self.text


def words_of(node: Node) -> list[Word]:
    """The words that one word of the script becomes."""
    marked = expanded(pieces(node))
    if len(marked) > MOST_WORDS:
        return [Word(ANY)]
    return [Word(text.replace(QUOTED, ""), bool(PATTERN.search(text))) for text in marked]


def pieces(node: Node, *, quoted: bool = False) -> str:
    text = source(node)
    match node.type:
        case "raw_string":
            return "".join(QUOTED + character for character in text[1:-1])
        case "ansi_c_string":
            return ONE if "\\" in text else "".join(QUOTED + character for character in text[2:-1])
        case "string" | "translated_string":
            return "".join(inside(node))
        case "concatenation" | "command_name":
            return "".join(pieces(child, quoted=quoted) for child in node.children)
        case "simple_expansion" | "expansion" if text in HOME:
            return "~"
        case "word" | "number" | "variable_name" | "special_variable_name" | "test_operator" | "regex":
            return unescaped(text)
        case _ if not node.children:
            return unescaped(text)
    return ONE if quoted and not ALL_WORDS.fullmatch(text) else ANY


def inside(string: Node) -> Iterator[str]:
    """The parts of a double-quoted string. What the parser leaves between its nodes is text as well."""
    data = string.text or b""
    start = string.start_byte
    at = data.index(b'"') + 1
    for child in string.named_children:
        if child.type == "string":  # of $"…"
            yield from inside(child)
            return
        yield in_quotes(data[at : child.start_byte - start].decode("utf-8", "replace"))
        yield in_quotes(source(child)) if child.type == "string_content" else pieces(child, quoted=True)
        at = child.end_byte - start
    yield in_quotes(data[at:-1].decode("utf-8", "replace"))


def in_quotes(text: str) -> str:
    plain = re.sub(r"\\\n", "", text)
    plain = re.sub(r'\\([$`"\\])', r"\1", plain)
    return "".join(QUOTED + character for character in plain)


def unescaped(text: str) -> str:
    if UNQUOTED_BLANK.search(text):
        return ANY  # the parser took several words for one
    return re.sub(r"\\(.)", lambda match: QUOTED + match[1], text.replace("\\\n", ""), flags=re.DOTALL)


def expanded(text: str) -> list[str]:
    """Brace expansion. `{a,b}` is expanded; `{1..9}` stands for anything; other braces are just characters."""
    pending = [text]
    done: list[str] = []
    while pending and len(pending) + len(done) <= MOST_WORDS:
        text = pending.pop(0)
        for match in INNERMOST_BRACES.finditer(text):
            before, choices, after = text[: match.start()], COMMA.split(match[1]), text[match.end() :]
            if len(choices) > 1:
                pending = [before + choice + after for choice in choices] + pending
                break
            if ".." in match[1]:
                pending.insert(0, before + ANY + after)
                break
        else:
            done.append(text)
    return done + pending


def source(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
