"""How soon a provider's post is acknowledged while every thread of the workers is busy: Slack, Telegram and Discord
give an app three seconds, and send again (or show an error) after that."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.load import percentile
from bench.report import Figure
from bench.rig import Rig, Running
from tests.e2e.fleet import SECRET
from tests.fakes.discord import FakeDiscord, serving_discord
from tests.fakes.slack import FakeSlack, serving_slack
from tests.fakes.telegram import FakeTelegram, serving_telegram

GOAL_P99_MS = 250
GOAL_SLOWEST_MS = 3000
PER_SECOND = 40
"""Of each provider."""
CONNECTIONS = 4
"""Of each provider: none waits for the answer to one event before it posts the next."""
SLOW = "[[first_token_ms=5000]] hello"
TELEGRAM_SECRET = "telegram-s-own"

Post = tuple[str, bytes, Mapping[str, str]]
"""Path, body and headers."""


def acks(rig: Rig) -> list[Figure]:
    seconds = 3 if rig.quick else 20
    with providers() as (slack, telegram, discord):
        makers = {"slack": slack_event(slack), "telegram": telegram_update(telegram), "discord": command(discord)}
        adapters = [
            {
                "kind": "webhook",
                "name": "internal",
                "secret": SECRET,
                "reply_hosts": ["127.0.0.1"],
                "unsafe_reply_http": True,
            },
            {
                "kind": "slack",
                "name": "slack",
                "bot_token": slack.bot_token,
                "signing_secret": slack.signing_secret,
                "api_url": slack.base_url,
            },
            {
                "kind": "telegram",
                "name": "telegram",
                "mode": "webhook",
                "bot_token": telegram.token,
                "webhook_secret": TELEGRAM_SECRET,
                "api_url": telegram.origin,
            },
            {
                "kind": "discord",
                "name": "discord",
                "bot_token": discord.token,
                "public_key": discord.public_key,
                "api_url": f"{discord.origin}/api/v10",
            },
        ]
        with rig.fleet(threads=8, adapters=adapters) as running:
            took = {name: list[float]() for name in makers}
            # Made beforehand: what a provider does until it posts is not what is measured.
            count = seconds * PER_SECOND
            posts = {name: [make(number) for number in range(count)] for name, make in makers.items()}
            # A process asks its provider who the bot is, once, before its first event.
            for make in makers.values():
                send(running, [(0.0, make(count))], time.perf_counter(), [], rig.problems)
            started = time.perf_counter()
            senders = [
                threading.Thread(target=send, args=(running, share, started, took[name], rig.problems))
                for name, made in posts.items()
                for share in shares(made)
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            waiting = running.fleet.sql("SELECT count(*) FROM turn WHERE state = 'queued'")[0][0]
    note = f"{PER_SECOND} a second each, while {waiting} turns wait for a thread"
    return [
        figure
        for name, times in took.items()
        for figure in (
            Figure("acks", f"{name}: p99", percentile(times, 0.99), "ms", GOAL_P99_MS, note=note),
            Figure("acks", f"{name}: slowest", max(times), "ms", GOAL_SLOWEST_MS),
        )
    ]


@contextmanager
def providers() -> Iterator[tuple[FakeSlack, FakeTelegram, FakeDiscord]]:
    with ExitStack() as stack:
        slack, telegram = stack.enter_context(serving_slack()), stack.enter_context(serving_telegram())
        discord = stack.enter_context(serving_discord())
        slack.lenient = telegram.lenient = discord.lenient = True
        yield slack, telegram, discord


def shares(posts: list[Post]) -> list[list[tuple[float, Post]]]:
    """Which posts go over which connection, each with the second in which it is due."""
    timed = [(number / PER_SECOND, post) for number, post in enumerate(posts)]
    return [timed[first::CONNECTIONS] for first in range(CONNECTIONS)]


def send(
    running: Running, posts: list[tuple[float, Post]], started: float, took: list[float], problems: list[str]
) -> None:
    """One after the other on one connection, at their times; what comes late is sent as soon as it can be."""
    connection = http.client.HTTPConnection("127.0.0.1", running.ports[0], timeout=30)
    for seconds, (path, body, headers) in posts:
        due = started + seconds
        time.sleep(max(0.0, due - time.perf_counter()))  # a steady load: each has its time
        sent_at = min(due, time.perf_counter())
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        # From the time that it was due: a slow answer must not hide behind those that it held up.
        took.append((time.perf_counter() - sent_at) * 1000)
        if answer.status != 200:
            problems.append(f"{path} was answered {answer.status}")


def slack_event(fake: FakeSlack) -> Callable[[int], Post]:
    ann = fake.person("ann")

    def make(_: int) -> Post:
        channel = fake.channel("", kind="im", members=[ann])
        (envelope,) = fake.events_of(fake.say(channel, ann, SLOW))
        body, now = json.dumps(envelope).encode(), str(int(time.time()))
        digest = hmac.new(fake.signing_secret.encode(), f"v0:{now}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={digest}"}
        return "/slack/slack/events", body, {**headers, "Content-Type": "application/json"}

    return make


def telegram_update(fake: FakeTelegram) -> Callable[[int], Post]:
    def make(number: int) -> Post:
        person = fake.person(f"p{number}")
        update: Any = fake.say(fake.private(person), person, SLOW)
        headers = {"X-Telegram-Bot-Api-Secret-Token": TELEGRAM_SECRET, "Content-Type": "application/json"}
        return "/telegram/telegram/webhook", json.dumps(update.shown()).encode(), headers

    return make


def command(fake: FakeDiscord) -> Callable[[int], Post]:
    ann, guild = fake.person("ann"), fake.guild("lab")
    channel = fake.channel(guild, "general")

    def make(number: int) -> Post:
        interaction = {
            "id": str(10**18 + number),
            "type": 2,
            "token": "t",
            "guild_id": guild.id,
            "channel": {"id": channel.id, "type": 0},
            "member": {"user": {"id": ann.id}, "roles": []},
            "data": {"name": "heyfleet", "options": [{"name": "command", "value": "status"}]},
        }
        body, now = json.dumps(interaction).encode(), str(int(time.time()))
        signature = fake.key.sign(now.encode() + body).hex()
        headers = {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": now}
        return "/discord/discord/interactions", body, {**headers, "Content-Type": "application/json"}

    return make
