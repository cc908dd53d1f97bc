"""Discord's Markdown. https://support.discord.com/hc/en-us/articles/210298617-Markdown-Text-101"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.adapters.formatting.layout import Dialect, Line, Side, render
from app.adapters.formatting.nodes import Link, Style

UNSEEN = "\u200b"
"""A zero-width space."""

MARKS: dict[Style, str] = {"bold": "**", "italic": "*", "strike": "~~"}
MARKED = frozenset("*_~`|")

# What is formatting anywhere in a line. `<` begins mentions and times, `||` is a spoiler, `__` underlines.
SPECIAL = re.compile(r"[\\*_~`|<\[]")
# What is formatting at the beginning of a line: headings, small print, quotes, lists.
BEGINNING = re.compile(r"^(\s*)(?:([#>])|([-+])(?=[ #]|$)|(\d+)(?=\.(?: |$)))")
# Discord makes links of these by itself, and a backslash would be part of the address.
BARE_URL = re.compile(r"https?://[^\s<>]*[^\s<>*_~`|\\.,;:!?'\")\]]")

RUNS = re.compile(r"`{2,}")
FENCES = re.compile(r"`{3,}")
LANGUAGE = re.compile(r"[\w+#.-]{1,40}", re.ASCII)


def discord_markdown(text: str) -> str:
    """Markdown as Discord reads it. Nobody is kept from being mentioned: that is for allowed_mentions."""
    return render(text, Discord())


def address(url: str) -> str:
    """With nothing that Discord could take for the end of it or for formatting."""
    return re.sub(r"[*`|\\<>() ]", lambda found: f"%{ord(found.group()):02X}", url)


class Discord(Dialect):
    bullet = "-"
    largest_heading = 3

    def text(self, text: str) -> str:
        parts, last = [], 0
        for url in BARE_URL.finditer(text):
            parts += [SPECIAL.sub(r"\\\g<0>", text[last : url.start()]), kept(url.group())]
            last = url.end()
        return "".join([*parts, SPECIAL.sub(r"\\\g<0>", text[last:])])

    def code(self, code: str) -> str:
        """Two backticks can hold one, and no three must be in a row: they would be a fence."""
        if "`" not in code:
            return f"`{code}`"
        space = " " if code[0] == "`" or code[-1] == "`" else ""
        return f"``{space}{RUNS.sub(lambda found: UNSEEN.join(found.group()), code)}{space}``"

    def styled(self, style: Style, inner: str) -> str:
        return f"{MARKS[style]}{inner}{MARKS[style]}"

    def link(self, link: Link, label: str) -> str:
        url = address(link.url)
        if not label:
            return f"<{url}>"
        # Discord shows the source of a link whose text is an address too.
        return f"{label} (<{url}>)" if "://" in label else f"[{label}]({url})"

    def fence(self, code: str, language: str) -> list[Line]:
        """There are no longer fences, so three backticks inside are kept apart."""
        inner = FENCES.sub(lambda found: UNSEEN.join(found.group()), code).split("\n")
        named = language if LANGUAGE.fullmatch(language) else ""
        return [Line(line, fixed=True) for line in (f"```{named}", *inner, "```")]

    def quote(self, lines: Sequence[Line]) -> list[Line]:
        return [Line(f"> {line.text}", fixed=True) for line in lines]

    def between(self, left: Side, right: Side) -> str:
        """**bold** and *italic* side by side would be three stars."""
        return UNSEEN if left.character == right.character and left.character in MARKED else ""

    def started(self, line: str) -> str:
        return BEGINNING.sub(escaped_beginning, line)


def kept(url: str) -> str:
    """An address in a text as it is, but for what would be formatting."""
    return re.sub(r"[*`|\\]", lambda found: f"%{ord(found.group()):02X}", url)


def escaped_beginning(found: re.Match[str]) -> str:
    space, mark, bullet, number = found.groups()
    return f"{space}{number}\\" if number else f"{space}\\{mark or bullet}"
