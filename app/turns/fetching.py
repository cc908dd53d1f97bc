"""Files that came with a message: fetched from where their provider has them, and shown to the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from app.errors import HeyfleetError, LeaseLost, Transient
from app.jsonb import storable
from app.leases import Lease, insist
from app.ports import Adapter, Cancel, Image
from app.traffic import short_text
from app.turns.facts import Facts, TurnFacts
from app.turns.next import Fetch
from app.turns.services import TurnServices

log = structlog.get_logger()

TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
"""Seconds between two tries; the wait doubles."""

# Fenced by the lane's token. One that is there already stays: two steps may have seen it missing.
STORE = """
    WITH lane AS (
        UPDATE thread SET version = version + 1, has_files = has_files OR CAST(:body AS bytea) IS NOT NULL
        WHERE id = :thread AND lease_token = :token RETURNING id
    ), stored AS (
        UPDATE attachment SET body = :body, text = :text, problem = :problem, source = NULL
        FROM lane WHERE attachment.id = :file AND attachment.body IS NULL AND attachment.problem IS NULL
    )
    SELECT id FROM lane"""


def fetch(s: TurnServices, facts: Facts, action: Fetch, lease: Lease) -> None:
    """Fetch and store each; what can't be had is told to the model. Raises LeaseLost and Unavailable."""
    adapter, most = s.adapter(facts.adapter), s.settings.attachments.max_bytes
    for file in action.files:
        if lease.is_set():
            return
        with s.pace.away():
            found = fetched(adapter, file, most, lease)
        if found is None:
            return
        content, problem = found
        text = short_text(file["media_type"], content) if content is not None else None
        params = {
            "thread": facts.thread,
            "token": facts.token,
            "file": file["id"],
            "body": content,
            "text": None if text is None else storable(text),
            "problem": problem,
        }
        if insist(s.db, STORE, params, lease) is None:
            raise LeaseLost(f"thread {facts.thread} was taken over by another process")


def fetched(
    adapter: Adapter, file: Mapping[str, Any], most: int, cancel: Cancel
) -> tuple[bytes | None, str | None] | None:
    """Its content, or why it can't be had; None where nobody wants it any more."""
    if (file.get("size") or 0) > most:
        return None, f"it is larger than {most} bytes"
    problem = ""
    for number in range(TRIES):
        try:
            return adapter.fetch(file["source"], most), None
        except Transient as error:
            problem = error.message
            wait = max(FIRST_WAIT * 2**number, min(error.retry_after or 0.0, LONGEST_WAIT))
            if number < TRIES - 1 and cancel.wait(wait):
                return None
        except HeyfleetError as error:
            return None, error.message
        except Exception as error:
            # A defect in an adapter must not hold the turn up.
            log.exception("file_not_fetched", file=file["id"])
            return None, type(error).__name__
    return None, problem


MOST_IMAGES = 8
MOST_IMAGE_BYTES = 3_700_000
"""All of a request's together: they are stored with the transcript, and sent with each later request. In base64 that
is just below what the strictest provider takes of one."""
SHOWN = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
)
"""What all providers of models take, by how it begins: they refuse a picture that is not what it is said to be."""

IMAGES = """
    SELECT turn_id, body FROM (
        SELECT id, turn_id, body, sum(length(body)) OVER (ORDER BY id) AS so_far
        FROM attachment WHERE turn_id = ANY(:turns) AND direction = 'in' AND length(body) <= :most_bytes
            AND starts_with(media_type, 'image/')) AS found
    WHERE so_far <= :most_bytes ORDER BY id LIMIT :most"""


def images_of(s: TurnServices, turns: Sequence[TurnFacts]) -> dict[UUID, list[Image]]:
    """The pictures that came with the messages of these turns, as many as a request may have. Raises Unavailable."""
    with_some = [turn.id for turn in turns if any(is_picture(file) for file in turn.files)]
    found: dict[UUID, list[Image]] = {}
    if with_some:
        params = {"turns": with_some, "most": MOST_IMAGES, "most_bytes": MOST_IMAGE_BYTES}
        for row in s.db.rows(IMAGES, params):
            body = bytes(row.body)
            kinds = [kind for kind, beginning in SHOWN if beginning.match(body)]
            found.setdefault(row.turn_id, []).extend(Image(kind, body) for kind in kinds)
    return found


def is_picture(file: Mapping[str, Any]) -> bool:
    return str(file["media_type"]).startswith("image/")
