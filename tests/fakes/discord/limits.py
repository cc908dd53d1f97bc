"""Discord's rate limits and the headers that tell of them: https://docs.discord.com/developers/topics/rate-limits."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.provider import Answer, Window

# "All bots can make up to 50 requests per second".
EVERYWHERE = (50, 1.0)
# Not documented, and subject to change, which is why clients are to read the headers; these are what bots meet.
BUCKETS = {"POST /channels/{id}/messages": (5, 5.0), "PATCH /channels/{id}/messages/{id}": (5, 5.0)}


class Bucket(Window):
    """A window that starts with its first request and ends for all of them at once, as `Reset-After` says it."""

    def wait(self, key: str) -> float:
        now, times = time.monotonic(), self._times[key]
        if times and times[0] <= now - self.seconds:
            times.clear()
        if len(times) >= self.count:
            return times[0] + self.seconds - now
        times.append(now)
        return 0.0

    def headers(self, name: str, key: str) -> dict[str, str]:
        times = self._times[key]
        after = max(0.0, times[0] + self.seconds - time.monotonic()) if times else 0.0
        return {
            "X-RateLimit-Limit": str(self.count),
            "X-RateLimit-Remaining": str(self.count - len(times)),
            "X-RateLimit-Reset": f"{time.time() + after:.3f}",
            "X-RateLimit-Reset-After": f"{after:.3f}",
            # The same for every channel: the id in the path is no part of it.
            "X-RateLimit-Bucket": hashlib.sha256(name.encode()).hexdigest()[:16],
        }


@dataclass
class Limits:
    everywhere: Bucket = field(default_factory=lambda: Bucket(*EVERYWHERE))
    buckets: Mapping[str, Bucket] = field(
        default_factory=lambda: {name: Bucket(*limit) for name, limit in BUCKETS.items()}
    )

    def refusal(self, name: str, key: str, exempt: bool) -> tuple[Answer, str] | None:
        """What a request that is one too many is answered, and how to call that; None: it is fine."""
        # Interaction endpoints are not bound to the global limit.
        if not exempt and (seconds := self.everywhere.wait("")):
            return limited(seconds, everywhere=True), f"{name}: more than {self.everywhere.count} requests per second"
        if (bucket := self.buckets.get(name)) and (seconds := bucket.wait(key)):
            said = f"{name}: more than {bucket.count} per {bucket.seconds:g} s in {key}"
            return limited(seconds, everywhere=False, headers=bucket.headers(name, key)), said
        return None

    def headers(self, name: str, key: str) -> dict[str, str]:
        bucket = self.buckets.get(name)
        return bucket.headers(name, key) if bucket else {}


def limited(seconds: float, *, everywhere: bool, headers: Mapping[str, str] | None = None) -> Answer:
    body: dict[str, Any] = {"message": "You are being rate limited.", "retry_after": round(seconds, 3)}
    more = {"Retry-After": str(math.ceil(seconds)), "X-RateLimit-Scope": "global" if everywhere else "user"}
    if everywhere:
        more["X-RateLimit-Global"] = "true"
    return Answer(429, {**body, "global": everywhere}, {**(headers or {}), **more})
