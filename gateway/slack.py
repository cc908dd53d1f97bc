"""Socket Mode: Slack sends over a connection that we open. https://docs.slack.dev/apis/events-api/using-socket-mode

Every gateway has one (Slack allows ten), and Slack chooses among them; what comes twice is one turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from slack_sdk.errors import SlackClientError
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient

from app.adapters.slack import SlackAdapter
from app.bootstrap import Core, desk_of
from app.entry import enter
from app.errors import HeyfleetError

log = structlog.get_logger()

AGAIN_AFTER = 5.0
AWAY_AFTER = 60.0


class SlackSocket:
    """One connection of one adapter."""

    def __init__(self, core: Core, adapter: SlackAdapter, clock: Callable[[], float] = time.monotonic) -> None:
        self.core = core
        self.clock = clock
        self.adapter = adapter
        settings = adapter.settings
        token = settings.app_token.get_secret_value() if settings.app_token else ""
        web = WebClient(token, settings.api_url, timeout=10)
        self.client = SocketModeClient(app_token=token, web_client=web, trace_enabled=False)
        self.client.socket_mode_request_listeners.append(self.on_request)
        self._ended = threading.Event()
        self._good_at = clock()
        self._thread = threading.Thread(target=self._connect, name=f"slack {adapter.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def close(self) -> None:
        self.stop()
        self._thread.join(timeout=15)
        self.client.close()

    def problem(self) -> str | None:
        """The library makes its connection anew every now and then; only one that stays away is worth telling."""
        if self.client.is_connected():
            self._good_at = self.clock()
        away = self.clock() - self._good_at
        return (
            f"slack {self.adapter.name}: no connection for {away:.0f} s; the log says why"
            if away > AWAY_AFTER
            else None
        )

    def _connect(self) -> None:
        """Until it holds for the first time; then the library connects again by itself."""
        while not self._ended.is_set():
            try:
                self.client.connect()
            except (SlackClientError, OSError) as error:
                response = getattr(error, "response", None)
                why = response.get("error") if response is not None else type(error).__name__
                log.warning("slack_not_connected", adapter=self.adapter.name, error=why)
                self._ended.wait(AGAIN_AFTER)
            else:
                log.info("slack_connected", adapter=self.adapter.name)
                return

    def on_request(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        """Acknowledged once it is committed: what is not, Slack sends again."""
        try:
            payload = self.take_in(request)
        except HeyfleetError as error:
            log.warning("envelope_not_taken", adapter=self.adapter.name, error=error.message)
            return
        except Exception:
            # Not acknowledged either: Slack tries three times and then gives up.
            log.exception("envelope_not_taken", adapter=self.adapter.name)
            return
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=payload))

    def take_in(self, request: SocketModeRequest) -> dict[str, Any] | None:
        """What the acknowledgement says to who gave a command."""
        happening = self.adapter.understand(request.type, request.payload)
        if happening is None:
            return None
        say = enter(desk_of(self.core), self.adapter.settings, happening).say
        if say and request.type == "interactive":
            self.adapter.whisper(str(request.payload.get("response_url") or ""), say)
        if say and request.type == "slash_commands":
            return {"response_type": "ephemeral", "text": self.adapter.shown(say)}
        return None
