"""Updates that Telegram brings by itself: https://core.telegram.org/bots/api#setwebhook."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tests.fakes.telegram.limits import Limits
from tests.fakes.telegram.model import HttpResult, Update, filled
from tests.fakes.telegram.parameters import Parameters, json_object, multipart, urlencoded
from tests.fakes.telegram.refusals import Refusal, bad_request, too_many
from tests.fakes.telegram.updates import KINDS, NOT_BY_DEFAULT, Updates

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORTS = (443, 80, 88, 8443)
"""https://core.telegram.org/bots/api#setwebhook."""


@dataclass(frozen=True)
class Delivery:
    """An update that was brought to the webhook, and what was answered."""

    update_id: int
    status: int
    at: float


class Webhook:
    def __init__(self, updates: Updates, closing: threading.Event, limits: Limits) -> None:
        self.updates = updates
        self.limits = limits
        self.secret = ""
        self.deliveries: list[Delivery] = []
        """In the order of their answers."""
        self.reply: Callable[[str, dict[str, Any]], None] = lambda _name, _params: None
        """Does the method call that came as the answer of a webhook."""
        self._closing = closing
        self._busy: set[str] = set()
        self._connections = 40
        self._error: tuple[int, str] | None = None
        self._thread: threading.Thread | None = None

    # --- methods; called under the lock

    def set(self, params: Parameters, lenient: bool) -> bool:
        url = params.text("url")
        if not url:
            return self.delete(params)
        # Telegram takes one a second: https://github.com/tdlib/telegram-bot-api (Client::process_set_webhook_query).
        wait = 0.0 if lenient else self.limits.set_webhook.wait("")
        if wait:
            raise too_many(wait)
        _check_url(urlsplit(url))
        secret = params.text("secret_token")
        if len(secret) > 256:
            raise bad_request("secret token is too long")
        if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
            raise bad_request("secret token contains unallowed characters")
        self.updates.allow(params)
        self.updates.end_poll("terminated by setWebhook request")
        if params.flag("drop_pending_updates"):
            self.updates.clear()
        self._connections = params.whole("max_connections", 40, 1, 100)
        self.updates.webhook_url, self.secret, self._error = url, secret, None
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="telegram-webhook", daemon=True)
            self._thread.start()
        self.updates.changed.notify_all()
        return True

    def delete(self, params: Parameters) -> bool:
        """What is pending stays, for getUpdates."""
        if params.flag("drop_pending_updates"):
            self.updates.clear()
        self.updates.webhook_url, self.secret, self._error = "", "", None
        return True

    def info(self) -> dict[str, Any]:
        """https://core.telegram.org/bots/api#webhookinfo."""
        shown: dict[str, Any] = {
            "url": self.updates.webhook_url,
            "has_custom_certificate": False,
            "pending_update_count": len(self.updates.pending),
        }
        if self.updates.webhook_url:
            shown |= {"max_connections": self._connections, "ip_address": "127.0.0.1"}
        if self._error:
            shown |= {"last_error_date": self._error[0], "last_error_message": self._error[1]}
        special = self.updates.allowed != KINDS - NOT_BY_DEFAULT
        return shown | filled(allowed_updates=sorted(self.updates.allowed) if special else None)

    # --- bringing them

    def post(self, url: str, body: Any, secret: str) -> HttpResult:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **({SECRET_HEADER: secret} if secret else {})}
        return post(url, raw, headers, self.limits.webhook_seconds)

    def _run(self) -> None:
        while not self._closing.is_set():
            with self.updates.changed:
                update = self._next()
                if update is None:
                    # Woken by what is new; and in small steps, for what waits to be tried again.
                    self.updates.changed.wait(0.02)
                    continue
                self._busy.add(update.queue)
                where = self.updates.webhook_url, self.secret
            threading.Thread(target=self._bring, args=(update, *where), daemon=True).start()

    def _next(self) -> Update | None:
        """The first of any queue that has none under way: each queue is kept in order, they all run side by side."""
        seen = set(self._busy)
        if not self.updates.webhook_url or len(self._busy) >= self._connections:
            return None
        for update in self.updates.pending:
            if update.queue not in seen and update.not_before <= time.monotonic():
                return update
            seen.add(update.queue)
        return None

    def _bring(self, update: Update, url: str, secret: str) -> None:
        result = self.post(url, update.shown(), secret)
        with self.updates.changed:
            self._busy.discard(update.queue)
            self.deliveries.append(Delivery(update.update_id, result.status, time.monotonic()))
            if result.good:
                self.updates.confirm(update)
                self.do_answer(result)
            elif self.updates.webhook_url == url:
                self._put_off(update, result)
            self.updates.changed.notify_all()

    def _put_off(self, update: Update, result: HttpResult) -> None:
        said = f"Wrong response from the webhook: {result.status} {result.reason}"
        self._error = int(time.time()), said if result.status else result.body.decode()
        # At once, then after longer and longer; Retry-After is kept to:
        # https://github.com/tdlib/telegram-bot-api (WebhookActor::on_update_error).
        delay: float = result.retry_after
        if not delay and update.fails:
            delay = min(self.limits.retry_seconds * 2 ** (update.fails - 1), self.limits.retry_most_seconds)
        update.fails += 1
        update.not_before = time.monotonic() + delay

    def do_answer(self, result: HttpResult) -> None:
        """A method call as the answer, whose result nobody gets to know:
        https://core.telegram.org/bots/api#making-requests-when-getting-updates."""
        params = _call_of(result)
        method = str(params.pop("method", ""))
        # These are not done: https://github.com/tdlib/telegram-bot-api (WebhookActor::handle).
        if method and not re.match(r"(?i)get|(setwebhook|deletewebhook|close|logout)$", method):
            self.reply(method, params)


def post(url: str, body: bytes, headers: dict[str, str], seconds: float) -> HttpResult:
    """Like Telegram it follows no redirect."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    begun = time.monotonic()
    try:
        connection.request("POST", f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}", body, headers)
        answer = connection.getresponse()
        got = answer.read()
    except TimeoutError:
        return HttpResult(0, b"Read timeout expired", time.monotonic() - begun)
    except ConnectionRefusedError:
        return HttpResult(0, b"Connection refused", time.monotonic() - begun)
    except (OSError, http.client.HTTPException):
        return HttpResult(0, b"Webhook connection closed", time.monotonic() - begun)
    finally:
        connection.close()
    after = answer.headers.get("Retry-After", "")
    return HttpResult(
        answer.status,
        got,
        time.monotonic() - begun,
        answer.reason,
        int(after) if after.isdigit() else 0,
        answer.headers.get("Content-Type", ""),
    )


def _call_of(result: HttpResult) -> dict[str, Any]:
    """Empty for what is no call."""
    if result.kind.startswith("multipart/form-data"):
        return multipart(result.kind, result.body)
    if result.kind.startswith("application/x-www-form-urlencoded"):
        return urlencoded(result.body)
    with contextlib.suppress(Refusal):
        return json_object(result.body)
    return {}


def _check_url(url: SplitResult) -> None:
    """https, on a port of Telegram's; tests may use http and any port on this machine."""
    if not url.hostname or url.scheme not in ("http", "https"):
        raise bad_request("invalid webhook URL specified")
    if url.hostname in LOOPBACK:
        return
    if url.scheme != "https":
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if (url.port or 443) not in PORTS:
        raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
