"""The gateway: who may connect, what is told to whom, and what a client gets that comes back."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from tests.fakes.discord.sessions import (
    ACK,
    DISPATCH,
    EVERY_INTENT,
    HELLO,
    IGNORED,
    INTENTS,
    INVALID,
    LARGEST_PAYLOAD,
    PRIVILEGED,
    RECONNECT,
    Connection,
    Session,
    listening,
    wrong_query,
)

if TYPE_CHECKING:
    from tests.fakes.discord.state import State


class Gateway:
    def __init__(self, fake: State) -> None:
        self.fake = fake
        self.heartbeat_seconds = 41.25
        self.session_seconds = 120.0
        """How long a session without a connection can be resumed."""
        self.identify_seconds = 5.0
        self.max_concurrency = 1
        self.after_invalid_seconds = 1.0
        """How soon after INVALID SESSION nobody should identify again."""
        self.unreached = 0
        """How many of the next connections over the URL for resuming break before anything is said."""
        self.greets = True
        """False: connections are taken, and nothing is ever said."""
        self.readies = True
        """False: nothing follows IDENTIFY."""
        self.remaining: int | None = None
        """How many sessions may be begun today; None: as many as Discord lets anybody begin, less what were begun."""
        self.acks = True
        """False: heartbeats are not acknowledged, as on a connection that is dead without knowing."""
        self.url = self.resume_url = ""
        self.sessions: dict[str, Session] = {}
        self.connections: set[Connection] = set()
        self.most = 0
        self.identified = 0
        self._invalid_at: dict[int, float] = {}
        self._was_unreached = False
        self._identifies: dict[str, float] = {}

    # --- what is told

    def dispatch(
        self, name: str, guild: str | None, data: Mapping[str, Any] | Callable[[Session], Any], intent: int = 0
    ) -> None:
        """To every session of that guild's shard that asked for it; what is of no guild goes to shard 0."""
        with self.fake.lock:
            for session in list(self.sessions.values()):
                index, count = session.shard
                mine = index == ((int(guild) >> 22) % count if guild else 0)
                if mine and intent & session.intents == intent and self._alive(session):
                    session.add(name, data(session) if callable(data) else data)

    def _alive(self, session: Session) -> bool:
        if session.connection is not None:
            return True
        return session.valid and time.monotonic() - session.left_at <= self.session_seconds

    def counts(self) -> dict[int, int]:
        """Open connections with a session, by shard."""
        with self.fake.lock:
            return dict(Counter(one.session.shard[0] for one in self.connections if one.session))

    # --- what is done to clients

    def drop(self, code: int | None = None) -> None:
        """Every connection ends: with that code, or without any goodbye."""
        with self.fake.lock:
            for connection in list(self.connections):
                self._leave(connection)
                if code is None:
                    connection.cut()
                else:
                    connection.close(code)

    def reconnect(self, seconds: float) -> None:
        """Ask to come anew; who does not is closed after that time."""
        with self.fake.lock:
            asked = list(self.connections)
            for connection in asked:
                connection.tell(RECONNECT, None)

        def close() -> None:
            for connection in asked:
                connection.close(4000)

        timer = threading.Timer(seconds, close)
        timer.daemon = True
        timer.start()

    def invalidate(self, resumable: bool) -> None:
        with self.fake.lock:
            for connection in self.connections:
                session, connection.session = connection.session, None
                if session is not None:
                    session.connection, session.left_at, session.valid = None, time.monotonic(), resumable
                self._refuse(connection, session.shard[0] if session and not resumable else None, resumable=resumable)

    def expire(self) -> None:
        """No session that there is now can be resumed."""
        with self.fake.lock:
            for session in self.sessions.values():
                session.valid = False

    def _refuse(self, connection: Connection, shard: int | None, *, resumable: bool = False) -> None:
        if shard is not None:
            self._invalid_at[shard] = time.monotonic()
        connection.tell(INVALID, resumable)

    # --- one connection

    def open(self, socket: ServerConnection, resuming: bool) -> None:
        connection = Connection(socket, resuming)
        with self.fake.lock:
            if resuming and self.unreached:
                self.unreached -= 1
                self._was_unreached = True
                connection.cut()
                return
            self.connections.add(connection)
        code, problem = wrong_query(socket)
        if code is not None:
            self.fake.problems.append(problem)
        elif self.greets:
            connection.tell(HELLO, {"heartbeat_interval": int(self.heartbeat_seconds * 1000)})
        try:
            while code is None:
                # Two that are missed, and a bit for the way.
                left = connection.beat_at + 2.25 * self.heartbeat_seconds - time.monotonic()
                raw = socket.recv(timeout=max(0.0, left))
                with self.fake.lock:
                    code = self._take(connection, raw)
            connection.close(code)
        except TimeoutError:
            connection.close(4009)
        except ConnectionClosed as closed:
            # https://docs.discord.com/developers/events/gateway#initiating-a-disconnect: these two end the session.
            bye = closed.rcvd is not None and bool(closed.rcvd_then_sent) and closed.rcvd.code in (1000, 1001)
            if bye and connection.session is not None:
                connection.session.valid = False
        except Exception as error:
            self.fake.problems.append(f"the fake gateway cannot read this: {error!r}")
            connection.close(4000)
        finally:
            with self.fake.lock:
                self._leave(connection)
            connection.end()

    def _leave(self, connection: Connection) -> None:
        session, connection.session = connection.session, None
        self.connections.discard(connection)
        if session is not None and session.connection is connection:
            session.connection, session.left_at = None, time.monotonic()

    def _take(self, connection: Connection, raw: str | bytes) -> int | None:
        """Do what came; the code to close with, if it was wrong."""
        if connection not in self.connections:
            return 4000
        if not self.fake.lenient and connection.sends.wait(""):
            self.fake.violated("gateway: more than 120 events in 60 s over one connection")
            return 4008
        try:
            payload = json.loads(raw)
            op, data = payload["op"], payload.get("d")
        except (ValueError, KeyError, TypeError, AttributeError):
            return 4002
        if len(raw) > LARGEST_PAYLOAD:
            return 4002
        match op:
            case 1:
                self._beat(connection, data)
                return None
            case 2:
                return 4005 if connection.session else self._identify(connection, data)
            case 6:
                return 4005 if connection.session else self._resume(connection, data)
            case _ if op not in IGNORED:
                return 4001
        return None if connection.session else 4003

    def _beat(self, connection: Connection, seq: Any) -> None:
        connection.beat_at = time.monotonic()
        last = len(connection.session.events) if connection.session else None
        if seq is not None and (last is None or not isinstance(seq, int) or not 0 <= seq <= last):
            self.fake.problems.append(f"heartbeat with {seq!r}, of {last} events")
        if self.acks:
            connection.tell(ACK, None)

    def _identify(self, connection: Connection, data: Any) -> int | None:
        code = self._wrong_identify(connection, data)
        if code is not None:
            return code
        shard = tuple(data.get("shard") or (0, 1))
        if not self._may_identify(shard[0]):
            # https://docs.discord.com/developers/events/gateway#rate-limiting
            self._refuse(connection, shard[0])
            return None
        if not self.readies:
            return None
        self.identified += 1
        session = Session(self.fake.snowflakes.next(), (shard[0], shard[1]), data["intents"])
        self.sessions[session.id] = session
        self._attach(session, connection)
        mine = [guild for guild in self.fake.guilds if (int(guild.id) >> 22) % shard[1] == shard[0]]
        session.add("READY", self._ready(session, [guild.id for guild in mine], data))
        if session.intents & INTENTS["GUILDS"]:
            for guild in mine:
                session.add("GUILD_CREATE", self.fake.guild_create(guild))
        return None

    def _wrong_identify(self, connection: Connection, data: Any) -> int | None:
        if not isinstance(data, dict) or not isinstance(data.get("properties"), dict):
            return 4002
        if data.get("token") != self.fake.token:
            return 4004
        intents, shard = data.get("intents"), data.get("shard") or [0, 1]
        if not isinstance(intents, int) or intents & ~EVERY_INTENT:
            return 4013
        if intents & PRIVILEGED & ~self.fake.privileged:
            return 4014
        if [type(one) for one in shard] != [int, int] or not 0 <= shard[0] < shard[1]:
            return 4010
        if connection.resuming:
            self.fake.problems.append("identified over resume_gateway_url, which is for resuming")
        return None

    def _may_identify(self, shard: int) -> bool:
        if self.fake.lenient:
            return True
        now = time.monotonic()
        since = now - self._invalid_at.get(shard, -1e9)
        if since < self.after_invalid_seconds:
            self.fake.violated(f"shard {shard}: identified {since:.2f} s after INVALID SESSION")
        # https://docs.discord.com/developers/events/gateway#sharding-max-concurrency
        key = str(shard % self.max_concurrency)
        last = self._identifies.get(key)
        if last is not None and now - last < self.identify_seconds:
            self.fake.violated(f"shard {shard}: identified {now - last:.2f} s after the last time")
            return False
        self._identifies[key] = now
        return True

    def _ready(self, session: Session, guilds: list[str], asked: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "v": 10,
            "user": {**self.fake.bot.json(), "verified": True, "mfa_enabled": False, "email": None},
            "guilds": [{"id": guild, "unavailable": True} for guild in guilds],
            "session_id": session.id,
            "resume_gateway_url": self.resume_url,
            "application": {"id": self.fake.application_id, "flags": 0},
            **({"shard": list(session.shard)} if asked.get("shard") else {}),
        }

    def _resume(self, connection: Connection, data: Any) -> int | None:
        if not isinstance(data, dict):
            return 4002
        if data.get("token") != self.fake.token:
            return 4004
        if not connection.resuming and not self._was_unreached:
            self.fake.problems.append("resumed over the first URL, not over resume_gateway_url")
        session = self.sessions.get(str(data.get("session_id")))
        if session is None or not session.valid or not self._alive(session):
            self._refuse(connection, session.shard[0] if session else None)
            return None
        seq = data.get("seq")
        if not isinstance(seq, int) or not 0 <= seq <= len(session.events):
            session.valid = False
            return 4007
        if session.connection is not None:
            session.connection.close(4000)
            self._leave(session.connection)
        for number, name, event in session.events[seq:]:
            connection.tell(DISPATCH, event, number, name)
        connection.tell(DISPATCH, {}, len(session.events), "RESUMED")
        self._attach(session, connection)
        return None

    def _attach(self, session: Session, connection: Connection) -> None:
        session.connection, connection.session = connection, session
        self.most = max([self.most, *self.counts().values()])

    # --- the servers

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Two ports: one to begin at, one to resume at, as Discord has hosts of their own for that."""
        with listening(self.open, False) as self.url, listening(self.open, True) as self.resume_url:
            yield
            self.drop()
