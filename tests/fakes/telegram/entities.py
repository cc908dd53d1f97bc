"""Text with parse_mode HTML, checked and read as Telegram does: https://core.telegram.org/bots/api#html-style."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    **dict.fromkeys(("b", "strong"), "bold"),
    **dict.fromkeys(("i", "em"), "italic"),
    **dict.fromkeys(("u", "ins"), "underline"),
    **dict.fromkeys(("s", "strike", "del"), "strikethrough"),
    **dict.fromkeys(("span", "tg-spoiler"), "spoiler"),
    "a": "text_link",
    "tg-emoji": "custom_emoji",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
}
"""Only these tags are known; what each one makes."""

# Of the named ones only these, of the numbered ones all.
CHARACTER = re.compile(r"&(?:#x(?P<hex>[0-9a-fA-F]{1,6})|#(?P<decimal>\d{1,7})|(?P<name>lt|gt|amp|quot)(?![A-Za-z]));?")
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
ATTRIBUTES_TO_THE_END = re.compile(r"""(?:[^>"']|"[^"]*"|'[^']*')*>""")
ATTRIBUTE = re.compile(
    r"""\s+(?P<name>[^\s=>]+)(?:\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<token>\S*)))?"""
)
TOKEN = re.compile(r"[A-Za-z0-9.-]*")

# In a message that a person wrote, Telegram finds these itself: https://core.telegram.org/bots/api#messageentity.
WRITTEN = {
    "mention": re.compile(r"(?<![\w@])@[A-Za-z]\w{3,31}"),
    "bot_command": re.compile(r"(?<![\w/])/\w{1,64}(?:@\w{3,32})?"),
    "url": re.compile(r"https?://[^\s<>]+[^\s<>.,;:!?)]"),
    "hashtag": re.compile(r"(?<!\w)#\w*[^\W\d]\w*"),
}


class BadHtml(ValueError):
    """What follows "can't parse entities: "."""


@dataclass(frozen=True)
class Parsed:
    text: str
    entities: list[dict[str, Any]]
    faults: list[str]
    """What Telegram takes, but not as it was meant."""


@dataclass
class _Open:
    tag: str
    argument: str
    start: int
    """In UTF-16 code units."""


@dataclass
class _Reader:
    html: str
    text: str = ""
    entities: list[dict[str, Any]] = field(default_factory=list)
    open: list[_Open] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def read(self) -> None:
        at = 0
        while at < len(self.html):
            character = CHARACTER.match(self.html, at)
            if character and (meant := meaning(character)):
                self.text += meant
                at = character.end()
            elif self.html[at] == "<":
                at = self._closes(at) if self.html.startswith("</", at) else self._opens(at)
            else:
                if self.html[at] in "&>":
                    self.faults.append(f'"{self.html[at]}" is not escaped at byte offset {self._byte(at)}')
                self.text += self.html[at]
                at += 1
        if self.open:
            raise BadHtml(f'Can\'t find end tag corresponding to start tag "{self.open[-1].tag}"')

    def _byte(self, at: int) -> int:
        return len(self.html[:at].encode())

    def _opens(self, at: int) -> int:
        name = re.compile(r"[^\s>]*").match(self.html, at + 1)
        assert name is not None
        tag = name.group().lower()
        if name.end() == len(self.html):
            raise BadHtml(f"Unclosed start tag at byte offset {self._byte(at)}")
        if tag not in KINDS:
            raise BadHtml(f'Unsupported start tag "{tag}" at byte offset {self._byte(at)}')
        rest = ATTRIBUTES_TO_THE_END.match(self.html, name.end())
        if rest is None:
            raise BadHtml(f"Unclosed start tag at byte offset {self._byte(at)}")
        argument = self._argument(tag, rest.group()[:-1], at)
        outer = self.open[-1].tag if self.open else ""
        # In these two there is nothing else: the inner one is lost.
        if outer in ("code", "pre") and not (outer == "pre" and tag == "code"):
            self.faults.append(f"<{tag}> in <{outer}> is lost")
        self.open.append(_Open(tag, argument, utf16(self.text)))
        return rest.end()

    def _argument(self, tag: str, attributes: str, at: int) -> str:
        """The one attribute that this tag may have."""
        found, end = "", 0
        while match := ATTRIBUTE.match(attributes, end):
            end = match.end()
            value = match["double"] if match["double"] is not None else match["single"]
            if match["token"] is not None:
                if not TOKEN.fullmatch(match["token"]):
                    raise BadHtml(f"Unexpected end of name token at byte offset {self._byte(at)}")
                value = match["token"].lower()
            elif value is None and (tag, match["name"]) != ("blockquote", "expandable"):
                raise BadHtml(
                    f'Expected equal sign in declaration of an attribute of the tag "{tag}" '
                    f"at byte offset {self._byte(at)}"
                )
            wanted = {"a": "href", "code": "class", "span": "class", "tg-emoji": "emoji-id", "blockquote": "expandable"}
            if match["name"] == wanted.get(tag):
                found = CHARACTER.sub(lambda one: meaning(one) or one.group(), value or "expandable")
        if attributes[end:].strip():
            raise BadHtml(f'Empty attribute name in the tag "{tag}" at byte offset {self._byte(at)}')
        if tag == "span" and found != "tg-spoiler":
            raise BadHtml(f'Tag "span" must have class "tg-spoiler" at byte offset {self._byte(at)}')
        if tag == "tg-emoji" and not (found.isdigit() and int(found)):
            raise BadHtml("Invalid custom emoji identifier specified")
        return found.removeprefix("language-") if tag == "code" and found.startswith("language-") else found

    def _closes(self, at: int) -> int:
        if not self.open:
            raise BadHtml(f"Unexpected end tag at byte offset {self._byte(at)}")
        match = re.compile(r"</([^\s>]*)\s*>").match(self.html, at)
        if match is None:
            raise BadHtml(f"Unclosed end tag at byte offset {self._byte(at)}")
        tag, expected = match[1].lower(), self.open[-1].tag
        if tag not in ("", expected):
            raise BadHtml(
                f'Unmatched end tag at byte offset {self._byte(at)}, expected "</{expected}>", found "</{tag}>"'
            )
        self._made(self.open.pop())
        return match.end()

    def _made(self, one: _Open) -> None:
        length = utf16(self.text) - one.start
        if not length or any(outer.tag in ("code", "pre") for outer in self.open if one.tag != "code"):
            return
        entity: dict[str, Any] = {"type": KINDS[one.tag], "offset": one.start, "length": length}
        if one.tag == "a":
            person = re.fullmatch(r"tg://user/?\?id=(\d+)", one.argument)
            # https://core.telegram.org/bots/api#formatting-options: a link of this kind is a mention of a person.
            entity |= {"type": "text_mention", "user": {"id": int(person[1])}} if person else {"url": one.argument}
        elif one.tag == "tg-emoji":
            entity["custom_emoji_id"] = one.argument
        elif one.tag == "blockquote" and one.argument:
            entity["type"] = "expandable_blockquote"
        elif one.tag == "code" and self.open and self.open[-1].tag == "pre":
            self.open[-1].argument = one.argument
            return
        elif one.tag == "pre" and one.argument:
            entity["language"] = one.argument
        self.entities.append(entity)


def meaning(match: re.Match[str]) -> str:
    """The character that is written so; empty: it is no character, and stays as it was written."""
    if match["name"]:
        return NAMED[match["name"]]
    code = int(match["hex"], 16) if match["hex"] else int(match["decimal"])
    if 0xD800 <= code <= 0xDFFF:
        raise BadHtml(
            "Text contains invalid Unicode characters after decoding HTML entities, "
            "check for unmatched surrogate code units"
        )
    return chr(code) if 0 < code < 0x10FFFF else ""


def parse(html: str) -> Parsed:
    """Raises BadHtml."""
    reader = _Reader(html)
    reader.read()
    return trimmed(reader.text, reader.entities, reader.faults)


def trimmed(text: str, entities: list[dict[str, Any]], faults: list[str]) -> Parsed:
    """Telegram takes away white space around the whole text."""
    moved, most = utf16(text) - utf16(text.lstrip()), utf16(text.strip())
    kept = []
    for entity in entities:
        start = max(entity["offset"] - moved, 0)
        end = min(entity["offset"] + entity["length"] - moved, most)
        if start < end:
            kept.append({**entity, "offset": start, "length": end - start})
    return Parsed(text.strip(), sorted(kept, key=lambda one: (one["offset"], -one["length"])), faults)


def problem_of(html: str) -> str | None:
    """Why Telegram refuses this text; None: it takes it."""
    try:
        parse(html)
    except BadHtml as error:
        return str(error)
    return None


def parsed_text(html: str) -> str:
    """What people see of it."""
    return parse(html).text


def utf16(text: str) -> int:
    """Telegram counts in UTF-16 code units: https://core.telegram.org/api/entities#entity-length."""
    return len(text.encode("utf-16-le")) // 2


def written(text: str, named: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The entities of a text as a person wrote it; `named`: words that mention people who have no username."""
    spans = [(kind, match.start(), match.end()) for kind, form in WRITTEN.items() for match in form.finditer(text)]
    found: list[dict[str, Any]] = [
        {"type": kind, "offset": utf16(text[:start]), "length": utf16(text[start:end])} for kind, start, end in spans
    ]
    for word, person in named.items():
        at = text.index(word)
        found.append(
            {"type": "text_mention", "offset": utf16(text[:at]), "length": utf16(word), "user": person},
        )
    return sorted(found, key=lambda one: one["offset"])
