"""Which blocks Slack takes. https://docs.slack.dev/reference/block-kit/blocks"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.fakes.slack.refusals import Refused

MOST_BLOCKS = 50
# https://docs.slack.dev/reference/block-kit/blocks/markdown-block: "cumulative for all markdown blocks in a payload".
MOST_MARKDOWN = 12_000
# No page says it, but messages are refused from some 13,200 characters of text in all blocks on:
# https://github.com/slackapi/bolt-js/issues/2509
MOST_TEXT = 13_000
TEXT_PROPERTIES = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
# Elements that are taken as they are; only buttons are looked at closely.
OTHER_ELEMENTS = {
    "checkboxes", "datepicker", "overflow", "radio_buttons", "static_select", "users_select", "conversations_select",
    "channels_select", "external_select", "multi_static_select", "multi_users_select", "timepicker",
}  # fmt: skip


def invalid(reason: str, at: str) -> Refused:
    """Slack points into the JSON: https://docs.slack.dev/reference/methods/chat.postMessage (errors)."""
    said = f"{reason} [json-pointer:{at}]"
    return Refused("invalid_blocks", errors=[said], response_metadata={"messages": [f"[ERROR] {said}"]})


def checked(blocks: Any) -> list[dict[str, Any]]:
    """The blocks, if they are good."""
    if not isinstance(blocks, list) or not all(isinstance(block, dict) and "type" in block for block in blocks):
        raise Refused("invalid_blocks_format")
    if len(blocks) > MOST_BLOCKS:
        raise invalid(f"no more than {MOST_BLOCKS} items allowed", "/blocks")
    seen: set[str] = set()
    for number, block in enumerate(blocks):
        at = f"/blocks/{number}"
        check = BLOCKS.get(block["type"])
        if check is None:
            raise invalid(f"unsupported type: {block['type']}", f"{at}/type")
        properties, look = check
        known(block, {"type", "block_id"} | properties, at)
        if "block_id" in block:
            measured(block["block_id"], 255, f"{at}/block_id")
            if block["block_id"] in seen:
                raise invalid("`block_id` already exists", f"{at}/block_id")
            seen.add(block["block_id"])
        look(block, at)
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MOST_MARKDOWN:
        raise Refused("msg_blocks_too_long")
    if sum(map(len, texts(blocks))) > MOST_TEXT:
        raise Refused("msg_blocks_too_long")
    return blocks


def texts(found: Any) -> Iterator[str]:
    """Every `text` that is a string, however deep."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value)


def mrkdwn_texts(found: Any) -> Iterator[str]:
    """Those in which `&`, `<` and `>` mean something."""
    if isinstance(found, dict):
        if found.get("type") == "mrkdwn":
            yield str(found.get("text"))
        for value in found.values():
            yield from mrkdwn_texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from mrkdwn_texts(value)


def known(found: Mapping[str, Any], properties: set[str], at: str) -> None:
    for name in found:
        if name not in properties:
            raise invalid(f"invalid additional property: {name}", at)


def measured(value: Any, most: int, at: str) -> None:
    if not isinstance(value, str):
        raise invalid("must be a string", at)
    if not value:
        raise invalid("must be more than 0 characters", at)
    if len(value) > most:
        raise invalid(f"must be less than {most + 1} characters", at)


def text(found: Any, most: int, at: str, *kinds: str) -> None:
    """https://docs.slack.dev/reference/block-kit/composition-objects/text-object"""
    if not isinstance(found, dict):
        raise invalid("must provide an object", at)
    if found.get("type") not in (kinds or tuple(TEXT_PROPERTIES)):
        raise invalid(f"unsupported type: {found.get('type')}", f"{at}/type")
    known(found, TEXT_PROPERTIES[found["type"]], at)
    measured(found.get("text"), most, f"{at}/text")


def counted(found: Any, most: int, at: str) -> list[Any]:
    if not isinstance(found, list) or not found:
        raise invalid("must provide an array of at least 1 item", at)
    if len(found) > most:
        raise invalid(f"no more than {most} items allowed", at)
    return found


def section(block: Mapping[str, Any], at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks/section-block"""
    if "text" not in block and "fields" not in block:
        raise invalid("missing required field: text", at)
    if "text" in block:
        text(block["text"], 3000, f"{at}/text")
    if "fields" in block:
        for number, field in enumerate(counted(block["fields"], 10, f"{at}/fields")):
            text(field, 2000, f"{at}/fields/{number}")
    if "accessory" in block:
        if block["accessory"].get("type") == "image":
            image(block["accessory"], f"{at}/accessory")
        else:
            element(block["accessory"], f"{at}/accessory")


def actions(block: Mapping[str, Any], at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks/actions-block

    `action_id` "should be unique among all other action_ids in the containing block"; Slack refuses it otherwise:
    https://docs.slack.dev/tools/node-slack-sdk/reference/types/interfaces/Actionable
    """
    seen: set[str] = set()
    for number, found in enumerate(counted(block.get("elements"), 25, f"{at}/elements")):
        element(found, f"{at}/elements/{number}")
        if found.get("action_id") in seen:
            raise invalid("`action_id` already exists", f"{at}/elements/{number}/action_id")
        if "action_id" in found:
            seen.add(found["action_id"])


def element(found: Any, at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/block-elements/button-element"""
    if not isinstance(found, dict) or found.get("type") not in {"button"} | OTHER_ELEMENTS:
        raise invalid("unsupported type", f"{at}/type")
    if "action_id" in found:
        measured(found["action_id"], 255, f"{at}/action_id")
    if found["type"] != "button":
        return
    known(found, {"type", "text", "action_id", "url", "value", "style", "confirm", "accessibility_label"}, at)
    text(found.get("text"), 75, f"{at}/text", "plain_text")
    for name, most in (("value", 2000), ("url", 3000), ("accessibility_label", 75)):
        if name in found:
            measured(found[name], most, f"{at}/{name}")
    if found.get("style", "primary") not in ("primary", "danger"):
        raise invalid("must be one of: primary, danger", f"{at}/style")
    if "confirm" in found:
        confirm(found["confirm"], f"{at}/confirm")


def confirm(found: Any, at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/composition-objects/confirmation-dialog-object"""
    if not isinstance(found, dict):
        raise invalid("must provide an object", at)
    known(found, {"title", "text", "confirm", "deny", "style"}, at)
    for name, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        text(found.get(name), most, f"{at}/{name}", "plain_text")


def context(block: Mapping[str, Any], at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks/context-block"""
    for number, found in enumerate(counted(block.get("elements"), 10, f"{at}/elements")):
        if isinstance(found, dict) and found.get("type") == "image":
            image(found, f"{at}/elements/{number}")
        else:
            text(found, 3000, f"{at}/elements/{number}")


def header(block: Mapping[str, Any], at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks/header-block"""
    text(block.get("text"), 150, f"{at}/text", "plain_text")


def markdown(block: Mapping[str, Any], at: str) -> None:
    measured(block.get("text"), 10**9, f"{at}/text")


def image(block: Mapping[str, Any], at: str) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks/image-block"""
    measured(block.get("alt_text"), 2000, f"{at}/alt_text")
    if "slack_file" not in block:
        measured(block.get("image_url"), 3000, f"{at}/image_url")


def rich_text(block: Mapping[str, Any], at: str) -> None:
    counted(block.get("elements"), 10**6, f"{at}/elements")


def nothing(_block: Mapping[str, Any], _at: str) -> None:
    """A divider has no more to look at."""


BLOCKS: dict[str, tuple[set[str], Callable[[Mapping[str, Any], str], None]]] = {
    "section": ({"text", "fields", "accessory", "expand"}, section),
    "actions": ({"elements"}, actions),
    "context": ({"elements"}, context),
    "header": ({"text"}, header),
    "divider": (set(), nothing),
    "markdown": ({"text"}, markdown),
    "image": ({"alt_text", "image_url", "slack_file", "title"}, image),
    "rich_text": ({"elements"}, rich_text),
}
