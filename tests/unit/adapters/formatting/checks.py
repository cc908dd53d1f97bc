"""What each provider would find wrong with a text, as far as that can be told from here."""

from __future__ import annotations

import re

from app.adapters.formatting.markdown import tokens_of

LINK = re.compile(r"<(?:https?:|mailto:)[^<>|\s]+(?:\|[^<>\n]+)?>")
ENTITY = re.compile(r"&(?:amp|lt|gt);")


def slack_problem(text: str) -> str | None:
    rest = re.sub(r"(?m)^>( |$)", "", LINK.sub("", text))
    if "<" in rest or ">" in rest:
        return f"unescaped: {rest}"
    if "&" in ENTITY.sub("", text):
        return "a bare &"
    return fences_problem(text)


def fences_problem(text: str) -> str | None:
    """Fences have three backticks, and there is no escape from them."""
    if "````" in text:
        return "too many backticks"
    return "unbalanced fences" if text.count("```") % 2 else None


def unclosed(source: str) -> list[str]:
    """The first lines of the fences of a Markdown text that only its end closes."""
    rows = source.split("\n")
    found = []
    for token in tokens_of(source):
        if token.type == "fence" and token.map:
            last = rows[token.map[1] - 1].strip(" >")
            if token.map[1] - token.map[0] < 2 or set(last) != set(token.markup) or len(last) < len(token.markup):
                found.append(rows[token.map[0]])
    return found
