"""Slack's mrkdwn. https://docs.slack.dev/messaging/formatting-message-text"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.adapters.formatting.inline import words
from app.adapters.formatting.layout import Dialect, Line, Side, render
from app.adapters.formatting.nodes import Link, Style

UNSEEN = "\u200b"
"""A zero-width space: a border of words that nobody sees."""

MARKS: dict[Style, str] = {"bold": "*", "italic": "_", "strike": "~"}

# Slack sees formatting only at the borders of words, and finds none inside a word or a Chinese sentence.
BORDERS = frozenset(" \n\t.,:;!?()[]{}\"'-/—–…") | {UNSEEN}

TICKS = re.compile(r"`{3,}")


def slack_mrkdwn(text: str) -> str:
    """Markdown as mrkdwn. It mentions nobody: what looks like `<!channel>` or `<@U123>` is shown as it stands.

    mrkdwn has no way to escape `*`, `_`, `~` and backticks, so an escaped one may still be taken for formatting.
    """
    return render(text, Slack())


def escaped(text: str) -> str:
    """The three characters that Slack wants escaped: https://docs.slack.dev/messaging/formatting-message-text"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def apart(text: str) -> str:
    """With no three backticks in a row, which would begin or end a fence: there are no longer fences."""
    return TICKS.sub(lambda found: UNSEEN.join(found.group()), text)


class Slack(Dialect):
    schemes = ("http:", "https:", "mailto:")
    # The letters of a message are narrow: two spaces would hardly be seen.
    indent = 4

    def text(self, text: str) -> str:
        return escaped(apart(text))

    def code(self, code: str) -> str:
        if "`" not in code:
            return f"`{escaped(code)}`"
        # Only a fence can hold a backtick. It stands on a line of its own, but what one copies from it is right.
        space = " " if code[0] == "`" or code[-1] == "`" else ""
        return f"```{space}{escaped(apart(code))}{space}```"

    def styled(self, style: Style, inner: str) -> str:
        """Formatting ends with its line, so each line gets its own."""
        mark = MARKS[style]
        return "\n".join(re.sub(r"\S(?:.*\S)?", rf"{mark}\g<0>{mark}", line) for line in inner.split("\n"))

    def label(self, link: Link) -> str:
        """Marks of formatting would be shown in there."""
        return self.text(words(link.inner)).strip()

    def link(self, link: Link, label: str) -> str:
        url = escaped(link.url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E"))
        if not label and link.url.startswith("mailto:"):
            label = self.text(link.url.removeprefix("mailto:"))
        return f"<{url}|{label}>" if label else f"<{url}>"

    def fence(self, code: str, language: str) -> list[Line]:  # noqa: ARG002 (Slack knows none)
        """A language would be the first line of the code."""
        return [Line(line, fixed=True) for line in ("```", *escaped(apart(code)).split("\n"), "```")]

    def quote(self, lines: Sequence[Line]) -> list[Line]:
        """A fence stands between two quotes: inside it, the marks would be part of the code."""
        return [line if line.fixed else Line(f"> {line.text}".rstrip(), fixed=True) for line in lines]

    def between(self, left: Side, right: Side) -> str:
        hidden = (left.formatted and right.character not in BORDERS) or (
            right.formatted and left.character not in BORDERS
        )
        return UNSEEN if hidden or left.character == right.character == "`" else ""

    def started(self, line: str) -> str:
        """An escaped > begins a quote as well."""
        return UNSEEN + line if line.lstrip().startswith("&gt;") else line
