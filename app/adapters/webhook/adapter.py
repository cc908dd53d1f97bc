"""Callbacks: signed POSTs that carry the id of their delivery, so that a receiver can tell a repeated one."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2 as httpx
import structlog

from app.adapters.webhook.reply_rules import check_reply_url
from app.config.adapters import WebhookAdapter as Settings
from app.errors import Permanent, Refused
from app.ports import Drafts, InDoubt
from app.results import Absent, Ambiguous, Failed, Retry, SendResult, Sent
from app.traffic import Limit, Outbound

log = structlog.get_logger()

SEPARATOR = " "
"""Between thread and URL in an address: neither can contain one."""

MOST_READ = 64_000
LONGEST_RETRY_AFTER = 3600.0


class WebhookAdapter:
    """See `app.ports.Adapter`."""

    # The receiver dedupes by X-Heyfleet-Delivery, so a doubtful callback is sent again.
    in_doubt: InDoubt = "resend"
    drafts: Drafts = "none"
    answers_each = True

    def __init__(self, settings: Settings, secrets: Sequence[str]) -> None:
        self.name = settings.name
        self.settings = settings
        self.secrets = secrets
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:
        return f"{thread_key}{SEPARATOR}{reply['url']}" if reply.get("url") else None

    def progress(self, reply: Mapping[str, Any]) -> None:  # noqa: ARG002
        return

    def place(self, kind: str, name: str) -> None:  # noqa: ARG002 (the port's signature)
        """Nowhere: it only answers, to the URL that a message came with."""
        return

    def limits(self, delivery: Outbound) -> tuple[Limit, ...]:  # noqa: ARG002
        return ()

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:  # noqa: ARG002
        raise Permanent("its adapter keeps no files")

    def settle(self, delivery: Outbound) -> Absent:  # noqa: ARG002
        return Absent()

    def send(self, delivery: Outbound) -> SendResult:
        url = delivery.address.partition(SEPARATOR)[2]
        try:
            # Again: the rules may have been narrowed since the message was accepted.
            check_reply_url(url, self.settings)
        except Refused as error:
            return Failed(error.message)
        body = encoded(delivery)
        try:
            return self._post(url, body, self._headers(delivery, body))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return Retry(f"no connection: {error}")
        except httpx.TransportError as error:
            return Ambiguous(f"the connection broke after the request was sent: {type(error).__name__}: {error}")
        except (httpx.InvalidURL, httpx.RequestError) as error:
            return Failed(f"{type(error).__name__}: {error}")

    def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> SendResult:
        with self._http().stream("POST", url, content=body, headers=dict(headers)) as response:
            finish_reading(response, self.settings.reply_timeout)
            return result_of(response)

    def _headers(self, delivery: Outbound, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "heyfleet",
            "X-Heyfleet-Delivery": delivery.id,
            "X-Heyfleet-Signature": signature(body, self.secrets, int(time.time())),
        }

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
                self._client = httpx.Client(
                    timeout=self.settings.reply_timeout, limits=limits, follow_redirects=False, trust_env=False
                )
            return self._client


def finish_reading(response: httpx.Response, seconds: float) -> None:
    """Read a short answer to its end, so that the connection can be used again; the status is the answer, whatever
    becomes of the rest. As it comes: nothing of it is unpacked."""
    deadline, read = time.monotonic() + seconds, 0
    try:
        for piece in response.iter_raw():
            read += len(piece)
            if read > MOST_READ or time.monotonic() > deadline:
                return
    except httpx.TransportError as error:
        log.debug("answer_not_read", error=f"{type(error).__name__}: {error}")


def signature(body: bytes, secrets: Sequence[str], timestamp: int) -> str:
    """`t=UNIX,v1=HEX[,v1=HEX]`: HMAC-SHA256 over `t.body`, one for each secret in force."""
    signed = f"{timestamp}.".encode() + body
    digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in digests)])


def encoded(delivery: Outbound) -> bytes:
    outcome = {
        "ok": True,
        "threadId": delivery.body["thread"],
        "runId": delivery.body["run"],
        "status": delivery.body["status"],
        "text": delivery.body["text"],
    }
    if "approval" in delivery.body:
        outcome["approval"] = delivery.body["approval"]
    if delivery.files:
        outcome["attachments"] = [
            {"name": file["name"], "mediaType": file["media_type"], "data": file["data"]} for file in delivery.files
        ]
    return json.dumps(outcome).encode()


def result_of(response: httpx.Response) -> SendResult:
    status = response.status_code
    if response.is_success:
        return Sent(str(status))
    if response.is_redirect:
        return Failed(f"HTTP {status}: redirects are not followed")
    # The receiver says that it did not take it, or that it is not the receiver who answered (a proxy's 502 to 504).
    if status in (408, 425, 429) or status >= 500:
        return Retry(f"HTTP {status}", retry_after(response))
    return Failed(f"HTTP {status}")


def retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), LONGEST_RETRY_AFTER) if value.isascii() and value.isdigit() else None
