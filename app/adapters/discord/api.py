"""Discord's HTTP API. https://discord.com/developers/docs/reference"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import httpx2 as httpx

from app.config.adapters import DiscordAdapter as Settings
from app.results import Ambiguous, Failed, Retry
from app.traffic import EVERYWHERE

DEFAULT_PAUSE = 5.0
LONGEST_PAUSE = 3600.0
TIMEOUT = 15.0


class Refusal(Exception):
    """Discord answered, and did not do it."""

    def __init__(self, status: int, answer: Mapping[str, Any], retry_after: str = "") -> None:
        self.status = status
        self.retry_after = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        """Seconds, of a 429 by the header: what stands before Discord tells nothing else."""
        self.code = int(answer.get("code") or 0)
        self.answer = answer
        super().__init__(f"{status}: {answer.get('message') or 'no answer that can be read'} ({self.code})")


class Api:
    """Used from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.api_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bot {settings.bot_token.get_secret_value()}",
            # https://discord.com/developers/docs/reference#user-agent
            "User-Agent": f"DiscordBot (heyfleet, {version('heyfleet')})",
        }
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        file: tuple[str, bytes, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Any:
        """What it answers, None where it has nothing to say. `file` is (name, content, media type).

        Raises Refusal and httpx errors.
        """
        url = f"{self._base}{path}"
        if file is None:
            response = self._http().request(method, url, json=body, headers=self._headers, timeout=timeout)
        else:
            # https://discord.com/developers/docs/reference#uploading-files
            form, files = {"payload_json": json.dumps(body)}, {"files[0]": file}
            response = self._http().request(method, url, data=form, files=files, headers=self._headers, timeout=60.0)
        return result_of(response)

    def download(self, url: str, most: int) -> bytes:
        """A file of a message: the address says who may have it."""
        content = b""
        with self._http().stream("GET", url, timeout=60.0) as response:
            if not response.is_success:
                raise Refusal(response.status_code, {"message": "the file is not there"})
            for piece in response.iter_bytes():
                content += piece
                if len(content) > most:
                    raise Refusal(413, {"message": f"the file is larger than {most} bytes"})
        return content

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
                self._client = httpx.Client(limits=limits, follow_redirects=False, trust_env=False)
            return self._client


def result_of(response: httpx.Response) -> Any:
    try:
        answer = response.json() if response.content else None
    except ValueError:
        answer = {}
    if response.is_success:
        return answer
    raise Refusal(
        response.status_code, answer if isinstance(answer, dict) else {}, response.headers.get("Retry-After", "")
    )


def refusal(error: Exception, limit: str) -> Retry | Failed | Ambiguous:
    """What became of a request that did not end well. Nothing says that a 5xx means that nothing was done."""
    match error:
        case Refusal(status=429):
            # https://discord.com/developers/docs/topics/rate-limits#exceeding-a-rate-limit
            told = error.answer.get("retry_after")
            seconds = min(float(told or error.retry_after or DEFAULT_PAUSE), LONGEST_PAUSE)
            # Not from Discord's API but from what stands before it: that holds for everything of this address.
            everything = bool(error.answer.get("global")) or told is None
            return Retry("429: too many requests", seconds, pauses=EVERYWHERE if everything else limit)
        case Refusal(status=401):
            return Failed(f"{error}: compare bot_token with the one of the application's page")
        case Refusal() if error.status >= 500:
            return Ambiguous(str(error))
        case Refusal():
            return Failed(str(error))
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Retry(f"no connection to Discord: {type(error).__name__}")
        case httpx.TransportError():
            return Ambiguous(f"the connection broke: {type(error).__name__}")
        case _:
            return Failed(type(error).__name__)
