"""What was published to Celery's queues, read from Redis as a worker would get it."""

from __future__ import annotations

import base64
import json

import redis


def woken(redis_url: str, queue: str) -> list[str]:
    """The lanes that the queue's wakes name, oldest first."""
    with redis.Redis.from_url(redis_url) as client:
        messages = client.lrange(queue, 0, -1)
    bodies = [json.loads(base64.b64decode(json.loads(message)["body"])) for message in reversed(messages)]
    return [arguments[0] for arguments, _, _ in bodies]


def forget_wakes(redis_url: str) -> None:
    """What a restart of a Redis without persistence does."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
