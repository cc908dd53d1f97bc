"""What Telegram says of the HTML of a message. Stricter than the real one, which quietly drops what it can't show.

https://core.telegram.org/bots/api#html-style
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

TAGS = {"a", "b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "tg-spoiler", "span"} | {
    "code",
    "pre",
    "blockquote",
}
ATTRIBUTES = {
    "a": re.compile(r' href="[^"<>]+"'),
    "code": re.compile(r'( class="language-[^"<>\s]+")?'),
    "span": re.compile(r' class="tg-spoiler"'),
    "blockquote": re.compile(r"( expandable)?"),
}
NONE = re.compile("")

PART = re.compile(r"<(?P<end>/?)(?P<name>[^\s<>/]*)(?P<attributes>[^<>]*)>|(?P<text>[^<>]+)|(?P<stray>[<>])")
ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#x[0-9a-fA-F]{1,6});")


def problem_of(html: str) -> str | None:
    """The description of the error that it answers, without `Bad Request: `; None: it takes it."""
    if not PART.sub(lambda part: part["text"] or "", html).strip():
        return "message text is empty"
    said = next(problems(html), None)
    return f"can't parse entities: {said}" if said else None


def problems(html: str) -> Iterator[str]:
    opened = list[str]()
    for part in PART.finditer(html):
        at = f"at byte offset {len(html[: part.start()].encode())}"
        if part["stray"]:
            yield f"Unclosed start tag {at}"
        elif part["text"]:
            if "&" in ENTITY.sub("", part["text"]):
                yield f"Unsupported entity {at}"
        elif not part["end"]:
            yield from (f"{said} {at}" for said in start_problems(part["name"], part["attributes"], opened))
            opened.append(part["name"])
        elif not opened:
            yield f"Unexpected end tag {at}"
        else:
            expected = opened.pop()
            if part["name"] != expected or part["attributes"]:
                yield f'Unmatched end tag {at}, expected "</{expected}>", found "</{part["name"]}>"'
    if opened:
        yield f"Can't find end tag corresponding to start tag {opened[-1]}"


def start_problems(name: str, attributes: str, opened: Sequence[str]) -> Iterator[str]:
    if name not in TAGS:
        yield f'Unsupported start tag "{name}"'
    elif not ATTRIBUTES.get(name, NONE).fullmatch(attributes):
        yield f'Unexpected attributes of the tag "{name}"'
    elif "&" in ENTITY.sub("", attributes):
        yield f'Unsupported entity in the tag "{name}"'
    # Code in a pre tells the language.
    elif "code" in opened or ("pre" in opened and (name, opened[-1]) != ("code", "pre")):
        yield f'Tag "{name}" must not be inside code'
    elif name in {"blockquote", "a"} and name in opened:
        yield f'Tag "{name}" must not be nested'
    elif name == "code" and "a" in opened:
        yield 'Tag "code" must not be inside a link'
