"""Limits that the whole fleet keeps to: a provider counts what all of its processes send.

One key in Redis for each limit, with the time at which it would be unused again (GCRA: a leaky bucket in one number),
and one for each pause that a provider asked for. By Redis's clock, so that no two machines need to agree on the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis
import structlog
from redis.exceptions import RedisError

from app.traffic import Limit

log = structlog.get_logger()

ASK_AGAIN_AFTER = 1.0
"""Seconds, where Redis can't say whether there is room: nothing is sent, or the fleet could break a limit together."""
LONGEST_PAUSE = 3600.0

# All limits have room, or none is touched. Times are microseconds. KEYS: pause and bucket of each limit, in turn; ARGV:
# interval and tolerance of each. https://redis.io/docs/latest/develop/programmability/eval-intro/
TAKE = """
local clock = redis.call('TIME')
local now, longest, next_times = clock[1] * 1000000 + clock[2], 0, {}
for i = 1, #KEYS / 2 do
    local paused = redis.call('PTTL', KEYS[2 * i - 1])
    if paused > 0 then longest = math.max(longest, paused * 1000) end
    local interval, tolerance = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local used_until = math.max(tonumber(redis.call('GET', KEYS[2 * i]) or now), now)
    longest = math.max(longest, used_until - tolerance - now)
    next_times[i] = used_until + interval
end
if longest > 0 then return longest end
for i = 1, #KEYS / 2 do
    local left = math.ceil((next_times[i] - now) / 1000) + 1
    redis.call('SET', KEYS[2 * i], string.format('%d', next_times[i]), 'PX', left)
end
return 0
"""

# The longer of two pauses holds.
PAUSE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
"""


class RateLimits:
    """The limits of the fleet's adapters. Never raises."""

    def __init__(self, redis_url: str) -> None:
        client = redis.Redis.from_url(redis_url, socket_timeout=1.0, socket_connect_timeout=1.0, max_connections=50)
        self._take = client.register_script(TAKE)
        self._pause = client.register_script(PAUSE)

    def take(self, adapter: str, limits: Sequence[Limit]) -> float:
        """Use each of the limits once: 0.0; or the seconds until there is room for that, and none is used."""
        if not limits:
            return 0.0
        keys = [name(adapter, kind, limit.key) for limit in limits for kind in ("pause", "limit")]
        args = [amount for limit in limits for amount in numbers(limit)]
        try:
            return float(self._take(keys=keys, args=args)) / 1e6
        except RedisError as error:
            log.warning("limits_unknown", adapter=adapter, error=str(error) or type(error).__name__)
            return ASK_AGAIN_AFTER

    def pause(self, adapter: str, key: str, seconds: float) -> None:
        """Let nothing through a limit for so long: the provider said so."""
        milliseconds = round(min(max(seconds, 0.001), LONGEST_PAUSE) * 1000)
        log.info("provider_limit", adapter=adapter, limit=key, seconds=round(seconds, 3))
        try:
            self._pause(keys=[name(adapter, "pause", key)], args=[milliseconds])
        except RedisError as error:
            # Then others find out for themselves.
            log.warning("pause_not_shared", adapter=adapter, error=str(error) or type(error).__name__)


def name(adapter: str, kind: str, key: str) -> str:
    return f"heyfleet:{kind}:{adapter}:{key}"


def numbers(limit: Limit) -> tuple[int, int]:
    """Microseconds from one to the next, and how far ahead of that a burst may run."""
    interval = limit.seconds / limit.count * 1e6
    return round(interval), round(interval * (limit.burst - 1))
