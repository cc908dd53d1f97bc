"""Keyboards under messages: https://core.telegram.org/bots/api#inlinekeyboardmarkup."""

from __future__ import annotations

from typing import Any

from tests.fakes.telegram.parameters import Parameters
from tests.fakes.telegram.refusals import bad_request

MOST_BUTTONS = 100
OTHERS = ("keyboard", "remove_keyboard", "force_reply")
"""https://core.telegram.org/bots/api#sendmessage: the other things that `reply_markup` may be."""
ACTIONS = ("web_app", "login_url", "switch_inline_query", "switch_inline_query_current_chat", "copy_text", "pay")


def markup_of(params: Parameters, *, editing: bool = False) -> dict[str, Any] | None:
    """Raises Refusal."""
    markup = params.structure("reply_markup", "reply keyboard markup")
    if markup is None:
        return None
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    if "inline_keyboard" not in markup:
        if editing and any(name in markup for name in OTHERS):
            raise bad_request("inline keyboard expected")
        return None
    rows = markup["inline_keyboard"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad_request('field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    buttons = [button for row in rows for button in row]
    for button in buttons:
        _check(button)
    if len(buttons) > MOST_BUTTONS:
        raise bad_request("reply markup is too long")
    return {"inline_keyboard": [row for row in rows if row]} if buttons else None


def _check(button: Any) -> None:
    """https://core.telegram.org/bots/api#inlinekeyboardbutton."""
    wrong = "can't parse inline keyboard button: "
    if not isinstance(button, dict):
        raise bad_request(f"{wrong}InlineKeyboardButton must be an Object")
    if not isinstance(button.get("text"), str):
        raise bad_request(f'{wrong}Can\'t find field "text"')
    if not button["text"].strip():
        raise bad_request("inline keyboard button text must be non-empty")
    if url := button.get("url"):
        if not str(url).startswith(("http://", "https://", "tg://")):
            raise bad_request(f"inline keyboard button URL '{url}' is invalid: Wrong HTTP URL")
        return
    data = button.get("callback_data")
    if data:
        # 1-64 bytes.
        if not isinstance(data, str) or len(data.encode()) > 64:
            raise bad_request("BUTTON_DATA_INVALID")
        return
    if not any(name in button for name in ACTIONS):
        raise bad_request(f"{wrong}Text buttons are unallowed in the inline keyboard")
