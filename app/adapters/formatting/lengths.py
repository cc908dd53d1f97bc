"""How long a message may be, and how each provider counts."""

from __future__ import annotations

import re

TELEGRAM_MOST = 4096
"""Of `telegram_length`. https://core.telegram.org/bots/api#sendmessage: "after entities parsing"; and
https://core.telegram.org/api/entities#entity-length: counted in UTF-16 code units."""

DISCORD_MOST = 2000
"""Of `len`. https://discord.com/developers/docs/resources/message#create-message"""

SLACK_MOST = 4000
"""Of `len` or, to be careful, `utf16_length`. More than 40,000 are cut off, and long before that a message may be
broken into several: https://api.slack.com/changelog/2018-04-truncating-really-long-messages"""

SLACK_SECTION_MOST = 3000
"""The same for the text of a section block. https://docs.slack.dev/reference/block-kit/blocks/section-block"""

TAG = re.compile(r"<[^<>]*>")


def utf16_length(text: str) -> int:
    """In UTF-16 code units: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def telegram_length(html: str) -> int:
    """Of what `telegram_html` made, as Telegram counts it: the tags are not in the text."""
    text = TAG.sub("", html)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, character)
    return utf16_length(text)
