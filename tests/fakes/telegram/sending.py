"""Methods that write, change and take away messages: https://core.telegram.org/bots/api#available-methods."""

from __future__ import annotations

import time
from typing import Any

from tests.fakes.telegram.book import Book
from tests.fakes.telegram.entities import BadHtml, Parsed, parse, trimmed, utf16
from tests.fakes.telegram.limits import Limits
from tests.fakes.telegram.markup import markup_of
from tests.fakes.telegram.model import Chat, File, Message
from tests.fakes.telegram.parameters import Parameters, Upload
from tests.fakes.telegram.reactions import EMOJI
from tests.fakes.telegram.refusals import Refusal, bad_request

MOST_TEXT = 4096
"""Without the markup: https://core.telegram.org/bots/api#sendmessage."""
MOST_CAPTION = 1024
"""Without the markup: https://core.telegram.org/bots/api#senddocument."""
GENERAL_TOPIC = 1
# https://core.telegram.org/bots/api#sendchataction
_ACTIONS = """typing upload_photo record_video upload_video record_voice upload_voice upload_document choose_sticker
find_location record_video_note upload_video_note"""
ACTIONS = frozenset(_ACTIONS.split())
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")


class Sending:
    """Called under the fake's lock."""

    def __init__(self, book: Book, limits: Limits, problems: list[str]) -> None:
        self.book = book
        self.limits = limits
        self._problems = problems

    def send_message(self, params: Parameters) -> dict[str, Any]:
        if not params.text("text"):
            raise bad_request("message text is empty")
        text = self._text(params, "text", MOST_TEXT, "message is too long")
        return self._send(params, text, link_preview=_link_preview(params))

    def send_document(self, params: Parameters) -> dict[str, Any]:
        caption = self._text(params, "caption", MOST_CAPTION, "message caption is too long")
        return self._send(params, caption, document=self._file(params, "document"))

    def send_photo(self, params: Parameters) -> dict[str, Any]:
        caption = self._text(params, "caption", MOST_CAPTION, "message caption is too long")
        photo = self._file(params, "photo")
        if len(photo.content) > self.limits.photo_bytes:
            raise bad_request(f"file of size {len(photo.content)} bytes is too big for a photo")
        if not photo.content.startswith(PICTURES):
            raise bad_request("IMAGE_PROCESS_FAILED")
        # Width and height together: https://core.telegram.org/bots/api#sendphoto. In a PNG they are the eight bytes
        # after the first chunk's name.
        sides = int.from_bytes(photo.content[16:20]), int.from_bytes(photo.content[20:24])
        if photo.content.startswith(PICTURES[0]) and sum(sides) > 10_000:
            raise bad_request("PHOTO_INVALID_DIMENSIONS")
        return self._send(params, caption, photo=photo)

    def edit_message_text(self, params: Parameters) -> dict[str, Any]:
        if not params.text("text"):
            raise bad_request("message text is empty")
        # Said otherwise than when it is sent: https://github.com/kfstorm/carnivore/issues/3.
        text = self._text(params, "text", MOST_TEXT, "MESSAGE_TOO_LONG")
        message, markup = self._own_message(params), markup_of(params, editing=True)
        if message.document or message.photo:
            raise bad_request("there is no text in the message to edit")
        # Without `reply_markup` the keyboard goes.
        if (message.text, message.entities, message.markup) == (text.text, text.entities, markup):
            raise bad_request(NOT_MODIFIED)
        message.edits.append(message.text)
        message.text, message.entities, message.html = text.text, text.entities, _html(params, "text")
        message.link_preview = _link_preview(params)
        return self._edited(message, markup)

    def edit_message_reply_markup(self, params: Parameters) -> dict[str, Any]:
        message, markup = self._own_message(params), markup_of(params, editing=True)
        if message.markup == markup:
            raise bad_request(NOT_MODIFIED)
        return self._edited(message, markup)

    def delete_message(self, params: Parameters) -> bool:
        message = self.book.message(params, "delete")
        chat, bot = message.chat, self.book.bot
        # https://core.telegram.org/bots/api#deletemessage: others' messages in private chats, or as administrator.
        allowed = message.sender is bot or chat.person or chat.members[bot.id] == "administrator"
        if not allowed:
            raise bad_request("message can't be deleted")
        chat.messages.remove(message)
        self.book.deleted.append(message)
        return True

    def send_chat_action(self, params: Parameters) -> bool:
        chat, action = self.book.chat(params), params.text("action")
        if action not in ACTIONS:
            raise bad_request("wrong parameter action in request")
        self.book.actions.append((chat.id, action, _topic(params, chat)))
        return True

    def set_message_reaction(self, params: Parameters) -> bool:
        reactions = params.structure("reaction", "reaction types") or []
        message = self.book.message(params, "react")
        if not isinstance(reactions, list) or not all(isinstance(one, dict) for one in reactions):
            raise bad_request("expected an Array of ReactionType")
        # A bot has one reaction to a message: https://core.telegram.org/bots/api#setmessagereaction.
        if len(reactions) > 1:
            raise bad_request("REACTIONS_TOO_MANY")
        emoji = [str(one.get("emoji", "")).replace("\ufe0f", "") for one in reactions]
        if any(one.get("type") != "emoji" for one in reactions) or not EMOJI.issuperset(emoji):
            raise bad_request("REACTION_INVALID")
        message.reactions = emoji
        return True

    # --- parts

    def _text(self, params: Parameters, name: str, most: int, too_long: str) -> Parsed:
        raw, mode = params.text(name), params.text("parse_mode").lower()
        if mode not in ("", "html"):
            if mode.startswith("markdown"):
                self._problems.append(f"parse_mode {mode}: this fake knows HTML only")
            raise bad_request("unsupported parse_mode")
        try:
            explicit = params.structure("entities" if name == "text" else "caption_entities", "entities") or []
            parsed = parse(raw) if mode else trimmed(raw, explicit, [])
        except BadHtml as error:
            raise bad_request(f"can't parse entities: {error}") from None
        self._problems += [f"{name}: {fault}" for fault in parsed.faults]
        if raw and not parsed.text and name == "text":
            raise bad_request("text must be non-empty")
        if utf16(parsed.text) > most:
            raise bad_request(too_long)
        return parsed

    def _send(self, params: Parameters, text: Parsed, **content: Any) -> dict[str, Any]:
        markup, chat = markup_of(params), self.book.chat(params)
        thread, replied = _topic(params, chat), self._replied(params, chat)
        message = Message(
            chat,
            0,
            self.book.bot,
            text.text,
            _html(params, "caption" if content.keys() & {"document", "photo"} else "text"),
            text.entities,
            markup,
            replied,
            # An answer goes to the topic of what it answers: https://github.com/tdlib/telegram-bot-api/issues/447.
            thread or (replied.thread_id if replied and replied.chat is chat else None),
            **content,
        )
        return self.book.add_message(message).shown()

    def _replied(self, params: Parameters, chat: Chat) -> Message | None:
        """https://core.telegram.org/bots/api#replyparameters."""
        wanted = params.structure("reply_parameters", "reply parameters")
        if not wanted:
            return None
        if not isinstance(wanted, dict):
            raise bad_request("object expected as reply parameters")
        message_id = str(wanted.get("message_id", ""))
        if not message_id.isdigit():
            raise bad_request('can\'t find field "message_id"')
        other = self.book.find_chat(str(wanted["chat_id"])) if "chat_id" in wanted else chat
        replied = other.message(int(message_id)) if other else None
        if replied is None and not wanted.get("allow_sending_without_reply"):
            raise bad_request("message to be replied not found")
        return replied

    def _own_message(self, params: Parameters) -> Message:
        message = self.book.message(params, "edit")
        if message.sender is not self.book.bot or message.service:
            raise bad_request("message can't be edited")
        return message

    def _edited(self, message: Message, markup: dict[str, Any] | None) -> dict[str, Any]:
        message.markup, message.edit_date = markup, int(time.time())
        return message.shown()

    def _file(self, params: Parameters, name: str) -> File:
        """Sent along, or by the id of one that is there: https://core.telegram.org/bots/api#sending-files."""
        upload = params.upload(name)
        if upload:
            return self._uploaded(upload)
        wanted = params.text(name)
        if not wanted:
            raise bad_request(f"there is no {name} in the request")
        if wanted.startswith(("http://", "https://")):
            raise bad_request("failed to get HTTP URL content")
        file = self.book.find_file(wanted)
        if file is None:
            raise bad_request("wrong file identifier/HTTP URL specified")
        return file

    def _uploaded(self, upload: Upload) -> File:
        if len(upload.content) > self.limits.upload_bytes:
            raise Refusal(413, "Request Entity Too Large")
        if not upload.content:
            raise bad_request("file must be non-empty")
        return self.book.add_file(upload.name, upload.kind, upload.content)


def _html(params: Parameters, name: str) -> str:
    return params.text(name) if params.text("parse_mode") else ""


def _link_preview(params: Parameters) -> dict[str, Any] | None:
    """https://core.telegram.org/bots/api#linkpreviewoptions."""
    options = params.structure("link_preview_options", "link preview options")
    if options is not None and not isinstance(options, dict):
        raise bad_request("object expected as link preview options")
    return options or None


def _topic(params: Parameters, chat: Chat) -> int | None:
    """The topic to write to. The general one has no number, though some updates say 1:
    https://github.com/tdlib/telegram-bot-api/issues/798."""
    thread = params.whole("message_thread_id")
    if thread and (thread == GENERAL_TOPIC or thread not in chat.topics):
        raise bad_request("message thread not found")
    return thread or None
