"""The HTML of Telegram's Bot API. https://core.telegram.org/bots/api#html-style"""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.adapters.formatting.inline import words
from app.adapters.formatting.layout import Dialect, Line, render
from app.adapters.formatting.nodes import Link, Style

TAGS: dict[Style, str] = {"bold": "b", "italic": "i", "strike": "s"}
LANGUAGE = re.compile(r"[\w+#.-]{1,40}", re.ASCII)


def telegram_html(text: str) -> str:
    """Markdown as HTML. Nothing is inside code and no quote inside a quote, which Telegram would refuse."""
    return render(text, Telegram())


def escaped(text: str) -> str:
    """Telegram knows no other named entities than these and &quot;."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Telegram(Dialect):
    # Not tg: though Telegram knows it: tg://user mentions somebody.
    schemes = ("http:", "https:")
    indent = 4

    def text(self, text: str) -> str:
        return escaped(text)

    def code(self, code: str) -> str:
        return f"<code>{escaped(code)}</code>"

    def styled(self, style: Style, inner: str) -> str:
        return f"<{TAGS[style]}>{inner}</{TAGS[style]}>"

    def label(self, link: Link) -> str:
        """Code and links can't contain each other."""
        label = super().label(link)
        return escaped(words(link.inner)) if "<code>" in label else label

    def link(self, link: Link, label: str) -> str:
        url = escaped(link.url).replace('"', "&quot;")
        return f'<a href="{url}">{label or escaped(words(link.inner).strip() or link.url)}</a>'

    def fence(self, code: str, language: str) -> list[Line]:
        before, after = "<pre>", "</pre>"
        if LANGUAGE.fullmatch(language):
            before, after = f'<pre><code class="language-{language}">', "</code></pre>"
        return [Line(line, fixed=True) for line in f"{before}{escaped(code)}{after}".split("\n")]

    def quote(self, lines: Sequence[Line]) -> list[Line]:
        inner = "\n".join(line.text for line in lines)
        return [Line(line, fixed=True) for line in f"<blockquote>{inner}</blockquote>".split("\n")]
