"""The few methods of the Bot API that heyfleet uses. https://core.telegram.org/bots/api#making-requests"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import httpx2 as httpx

from app.config.adapters import TelegramAdapter as Settings
from app.results import Ambiguous, Failed, Retry

DEFAULT_PAUSE = 30.0
LONGEST_PAUSE = 3600.0
TIMEOUT = 15.0


class Refusal(Exception):
    """Telegram answered, and did not do it."""

    def __init__(self, code: int, description: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.parameters = parameters


class Api:
    """Used from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.api_url.rstrip("/")
        # In every URL; no error of ours may quote one.
        self._token = settings.bot_token.get_secret_value()
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        file: tuple[str, str, bytes, str] | None = None,
        timeout: float | httpx.Timeout = TIMEOUT,
    ) -> Any:
        """The `result`. `file` is (parameter, name, content, media type). Raises Refusal and httpx errors.

        Where a group has become a supergroup, it is done there: https://core.telegram.org/bots/api#responseparameters
        """
        try:
            return self._call(method, params, file=file, timeout=timeout)
        except Refusal as error:
            moved = error.parameters.get("migrate_to_chat_id")
            if moved is None or "chat_id" not in params:
                raise
            return self._call(method, {**params, "chat_id": moved}, file=file, timeout=timeout)

    def _call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        file: tuple[str, str, bytes, str] | None,
        timeout: float | httpx.Timeout,
    ) -> Any:
        url = f"{self._base}/bot{self._token}/{method}"
        given = {name: value for name, value in params.items() if value is not None}
        if file is None:
            response = self._http().post(url, json=given, timeout=timeout)
        else:
            field, name, content, media_type = file
            form = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
            response = self._http().post(url, data=form, files={field: (name, content, media_type)}, timeout=60.0)
        return result_of(response)

    def download(self, path: str, most: int) -> bytes:
        """A file by its `file_path`. https://core.telegram.org/bots/api#getfile"""
        url = f"{self._base}/file/bot{self._token}/{path}"
        content = b""
        with self._http().stream("GET", url, timeout=60.0) as response:
            if not response.is_success:
                raise Refusal(response.status_code, "the file is not there", {})
            for piece in response.iter_bytes():
                content += piece
                if len(content) > most:
                    raise Refusal(413, f"the file is larger than {most} bytes", {})
        return content

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
                self._client = httpx.Client(limits=limits, follow_redirects=False, trust_env=False)
            return self._client


def result_of(response: httpx.Response) -> Any:
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    if isinstance(answer, dict) and answer.get("ok") is True:
        return answer.get("result")
    described = answer if isinstance(answer, dict) else {}
    raise Refusal(
        int(described.get("error_code") or response.status_code),
        str(described.get("description") or "no answer that can be read"),
        described.get("parameters") or {},
    )


def refusal(error: Exception, limit: str) -> Retry | Failed | Ambiguous:
    """What became of a request that did not end well. Nothing says that a 5xx means that nothing was done."""
    match error:
        case Refusal(code=429):
            seconds = error.parameters.get("retry_after", DEFAULT_PAUSE)
            return Retry("429: too many requests", min(float(seconds), LONGEST_PAUSE), pauses=limit)
        case Refusal() if error.code >= 500:
            return Ambiguous(str(error))
        case Refusal(code=401) | Refusal(code=404):
            return Failed(f"{error}: compare bot_token with what @BotFather says")
        case Refusal():
            return Failed(str(error))
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Retry(f"no connection to Telegram: {type(error).__name__}")
        case httpx.TransportError():
            return Ambiguous(f"the connection broke: {type(error).__name__}")
        case _:
            return Failed(type(error).__name__)
