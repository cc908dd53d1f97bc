"""Slack's side of the app's HTTP endpoints: signed POSTs, and what follows when they fail.

https://docs.slack.dev/authentication/verifying-requests-from-slack
https://docs.slack.dev/apis/events-api/#responding (3 seconds, retries)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.fakes.slack.events import Events

PATIENCE = 3.0


@dataclass(frozen=True)
class HttpResult:
    """What the app answered."""

    status: int
    """0: nothing came; `why` says why."""
    body: str
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names in lower case."""
    why: str = ""
    patience: float = PATIENCE

    @property
    def in_time(self) -> bool:
        return self.status > 0 and self.seconds <= self.patience

    @property
    def good(self) -> bool:
        """What Slack takes for delivered."""
        return self.in_time and 200 <= self.status < 300

    def json(self) -> Any:
        return json.loads(self.body)


class Deliveries(Events):
    """Senders to the app's endpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = PATIENCE
        """Seconds until a delivery has failed. Slack's are 3."""
        # Slack's are "nearly immediately", one minute and five minutes.
        self.retry_delays = (0.0, 0.05, 0.1)

    def post_event(
        self,
        url: str,
        envelope: Mapping[str, Any],
        *,
        retry_num: int | None = None,
        retry_reason: str | None = None,
        signature: str | None = None,
        timestamp: int | None = None,
        timeout: float = 30,
    ) -> HttpResult:
        """One signed POST, whatever comes of it. A `signature` of one's own is sent instead of the right one."""
        headers = {"Content-Type": "application/json"}
        if retry_num is not None:
            headers |= {"X-Slack-Retry-Num": str(retry_num), "X-Slack-Retry-Reason": retry_reason or "http_error"}
        return self._send(url, json.dumps(envelope).encode(), headers, timeout, signature, timestamp)

    def post_form(
        self, url: str, fields: Mapping[str, str], signature: str | None = None, timestamp: int | None = None
    ) -> HttpResult:
        """A command, signed."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send(url, urlencode(fields).encode(), headers, 30, signature, timestamp)

    def post_interaction(
        self, url: str, payload: Mapping[str, Any], signature: str | None = None, timestamp: int | None = None
    ) -> HttpResult:
        """A click: a form with its JSON in the field `payload`."""
        return self.post_form(url, {"payload": json.dumps(payload)}, signature, timestamp)

    def url_verification(self, url: str) -> bool:
        """Whether the app answers the challenge. https://docs.slack.dev/reference/events/url_verification"""
        challenge = f"fake-challenge-{time.monotonic_ns()}"
        asked = {"token": self.verification_token, "challenge": challenge, "type": "url_verification"}
        result = self.post_event(url, asked)
        # As plain text, as a form or as JSON.
        answers = (challenge, f"challenge={challenge}")
        said = result.body.strip()
        return result.good and (said in answers or (said.startswith("{") and result.json() == {"challenge": challenge}))

    def deliver(self, url: str, envelope: Mapping[str, Any]) -> list[HttpResult]:
        """Until it is taken: up to three more times, unless the app's refusal says `X-Slack-No-Retry: 1`.

        One that takes too long is not waited for; the app may still be at it when the next one comes.
        """
        results = [self.post_event(url, envelope, timeout=self.patience)]
        for number, delay in enumerate(self.retry_delays, 1):
            last = results[-1]
            if last.good or last.headers.get("x-slack-no-retry") == "1":
                break
            self.closing.wait(delay)
            results.append(
                self.post_event(
                    url, envelope, retry_num=number, retry_reason=last.why or "http_error", timeout=self.patience
                )
            )
        return results

    def signature(self, timestamp: int, body: bytes) -> str:
        signed = b"v0:" + str(timestamp).encode() + b":" + body
        return "v0=" + hmac.new(self.signing_secret.encode(), signed, hashlib.sha256).hexdigest()

    def _send(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,
        signature: str | None,
        timestamp: int | None,
    ) -> HttpResult:
        parts = urlsplit(url)
        at = int(time.time()) if timestamp is None else timestamp
        signed = {
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": str(at),
            "X-Slack-Signature": self.signature(at, body) if signature is None else signature,
            **headers,
        }
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        begun = time.monotonic()
        try:
            connection.request("POST", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", body, signed)
            response = connection.getresponse()
            said = response.read().decode(errors="replace")
        except (OSError, HTTPException) as error:
            why = "http_timeout" if isinstance(error, TimeoutError) else "connection_failed"
            return HttpResult(0, "", time.monotonic() - begun, why=why, patience=self.patience)
        finally:
            connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        return HttpResult(response.status, said, time.monotonic() - begun, found, patience=self.patience)
