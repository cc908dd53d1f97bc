"""What Discord refuses in a message: lengths, counts, embeds, components, nonces, mentions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.fakes.discord.refusals import Form
from tests.fakes.discord.world import COMPONENTS_V2

# https://docs.discord.com/developers/resources/message#create-message
CONTENT, EMBEDS, NONCE, ATTACHMENTS = 2000, 10, 25, 10
# https://docs.discord.com/developers/resources/message#embed-object-embed-limits
EMBED_TEXTS = {"title": 256, "description": 4096, "footer.text": 2048, "author.name": 256}
FIELDS, FIELD_NAME, FIELD_VALUE, ALL_EMBEDS = 25, 256, 1024, 6000
# https://docs.discord.com/developers/components/reference
ROWS, BUTTONS, LABEL, CUSTOM_ID, OPTIONS = 5, 5, 80, 100, 25
ROW, BUTTON, STRING_SELECT, SELECTS = 1, 2, 3, (3, 5, 6, 7, 8)
LINK, PREMIUM = 5, 6


def check_message(payload: Mapping[str, Any]) -> None:
    """Everything of it at once, as Discord lists all that is wrong with a body."""
    form = Form()
    form.length("content", payload.get("content"), CONTENT)
    check_embeds(form, payload.get("embeds"))
    check_components(form, payload.get("components"))
    check_nonce(form, payload.get("nonce"))
    check_allowed(form, payload.get("allowed_mentions"))
    flags = payload.get("flags") or 0
    if not isinstance(flags, int) or flags & COMPONENTS_V2:
        # This fake knows rows of buttons and selects only.
        form.wrong("flags", "INVALID_FLAGS", "The fake Discord has no components V2")
    form.check()


def check_nonce(form: Form, nonce: Any) -> None:
    if nonce is None:
        return
    if isinstance(nonce, bool) or not isinstance(nonce, int | str):
        form.wrong("nonce", "NONCE_TYPE_INVALID_TYPE", "This field must be a string or integer")
    else:
        form.length("nonce", str(nonce), NONCE)


# --- embeds


def check_embeds(form: Form, embeds: Any) -> None:
    if embeds is None:
        return
    form.length("embeds", embeds, EMBEDS)
    if not isinstance(embeds, list):
        return
    for number, embed in enumerate(embeds):
        check_embed(form, f"embeds.{number}", embed)
    # All of the message's embeds together, not each.
    if sum(len(text) for embed in embeds for text in texts_of(embed)) > ALL_EMBEDS:
        form.wrong("embeds", "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {ALL_EMBEDS}")


def check_embed(form: Form, path: str, embed: Any) -> None:
    if not isinstance(embed, dict):
        form.wrong(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return
    if not any(
        embed.get(part) for part in ("title", "description", "fields", "footer", "author", "image", "thumbnail")
    ):
        form.wrong(f"{path}.description", "BASE_TYPE_REQUIRED", "This field is required")
    for name, most in EMBED_TEXTS.items():
        form.length(f"{path}.{name}", trimmed(text_at(embed, name)), most)
    fields = embed.get("fields") or []
    form.length(f"{path}.fields", fields, FIELDS)
    for number, one in enumerate(fields):
        form.length(f"{path}.fields.{number}.name", trimmed(one.get("name")), FIELD_NAME, least=1)
        form.length(f"{path}.fields.{number}.value", trimmed(one.get("value")), FIELD_VALUE, least=1)
    color = embed.get("color")
    if color is not None and not (isinstance(color, int) and 0 <= color <= 0xFFFFFF):
        form.wrong(f"{path}.color", "NUMBER_TYPE_MAX", "int value should be between 0 and 16777215.")
    url = embed.get("url")
    if url and not re.match(r"https?://", str(url)):
        form.wrong(f"{path}.url", "URL_TYPE_INVALID_SCHEME", "Scheme must be one of ('http', 'https').")


def text_at(embed: Mapping[str, Any], name: str) -> Any:
    outer, _, inner = name.partition(".")
    found = embed.get(outer)
    return (found or {}).get(inner) if inner else found


def trimmed(text: Any) -> Any:
    """White space at the ends is not counted (the page above)."""
    return text.strip() if isinstance(text, str) else text


def texts_of(embed: Any) -> list[str]:
    if not isinstance(embed, dict):
        return []
    named = [text_at(embed, name) for name in EMBED_TEXTS]
    fields = [one.get(part) for one in embed.get("fields") or [] for part in ("name", "value")]
    return [text.strip() for text in named + fields if isinstance(text, str)]


# --- components


def check_components(form: Form, rows: Any) -> None:
    if rows is None:
        return
    form.length("components", rows, ROWS)
    if not isinstance(rows, list):
        return
    for number, row in enumerate(rows):
        path = f"components.{number}"
        if not form.choice(f"{path}.type", row.get("type"), (ROW,)):
            continue
        inside = row.get("components") or []
        form.length(f"{path}.components", inside, BUTTONS, least=1)
        if any(one.get("type") in SELECTS for one in inside) and len(inside) > 1:
            form.wrong(path, "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width")
        for place, one in enumerate(inside):
            check_component(form, f"{path}.components.{place}", one)
    check_custom_ids(form, rows)


def check_custom_ids(form: Form, rows: list[Any]) -> None:
    """No two in one message: https://docs.discord.com/developers/components/reference#anatomy-of-a-component."""
    ids = Counter(one.get("custom_id") for row in rows for one in row.get("components") or [])
    twice = {custom_id for custom_id, times in ids.items() if custom_id and times > 1}
    for number, row in enumerate(rows):
        for place, one in enumerate(row.get("components") or []):
            if one.get("custom_id") in twice:
                path = f"components.{number}.components.{place}.custom_id"
                form.wrong(path, "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")


def check_component(form: Form, path: str, one: Mapping[str, Any]) -> None:
    if not form.choice(f"{path}.type", one.get("type"), (BUTTON, *SELECTS)):
        return
    if one["type"] == BUTTON:
        check_button(form, path, one)
        return
    form.length(f"{path}.custom_id", one.get("custom_id"), CUSTOM_ID, least=1)
    form.length(f"{path}.placeholder", one.get("placeholder"), 150)
    if one["type"] == STRING_SELECT:
        options = one.get("options") or []
        form.length(f"{path}.options", options, OPTIONS, least=1)
        for number, option in enumerate(options):
            form.length(f"{path}.options.{number}.label", option.get("label"), 100, least=1)
            form.length(f"{path}.options.{number}.value", option.get("value"), 100, least=1)


def check_button(form: Form, path: str, one: Mapping[str, Any]) -> None:
    """https://docs.discord.com/developers/components/reference#button"""
    if not form.choice(f"{path}.style", one.get("style"), (1, 2, 3, 4, LINK, PREMIUM)):
        return
    form.length(f"{path}.label", one.get("label"), LABEL)
    if one["style"] == LINK:
        form.length(f"{path}.url", one.get("url"), 512, least=1)
        if one.get("custom_id"):
            form.wrong(path, "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", "A custom id and url cannot both be")
    elif one["style"] != PREMIUM:
        form.length(f"{path}.custom_id", one.get("custom_id"), CUSTOM_ID, least=1)
    if not one.get("label") and not one.get("emoji") and one["style"] != PREMIUM:
        form.wrong(path, "BUTTON_COMPONENT_INVALID", "A button must have a label or an emoji")


# --- mentions


def check_allowed(form: Form, allowed: Any) -> None:
    """https://docs.discord.com/developers/resources/message#allowed-mentions-object"""
    if allowed is None:
        return
    parse = allowed.get("parse") or []
    for number, kind in enumerate(parse):
        form.choice(f"allowed_mentions.parse.{number}", kind, ("users", "roles", "everyone"))
    for kind in ("users", "roles"):
        ids = allowed.get(kind) or []
        form.length(f"allowed_mentions.{kind}", ids, 100)
        if ids and kind in parse:
            said = f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
            form.wrong("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", said)
        for number, one in enumerate(ids):
            if not str(one).isdigit():
                said = f'Value "{one}" is not snowflake.'
                form.wrong(f"allowed_mentions.{kind}.{number}", "NUMBER_TYPE_COERCE", said)
