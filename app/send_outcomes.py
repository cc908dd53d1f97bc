"""What becomes of a delivery after one try to send it (pure, but for the jitter), and how that is counted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from app import meters
from app.clock import now
from app.config.settings import Delivery as Settings
from app.ports import InDoubt
from app.results import Ambiguous, Failed, Held, Retry, SendResult, Sent
from app.states import DeliveryState


@dataclass(frozen=True, slots=True)
class Outcome:
    """A delivery's next state."""

    state: DeliveryState
    attempts: int
    """How many tries are counted from here on."""
    error: str | None = None
    wait: float | None = None
    """Seconds until it is tried again; None: at once where it is pending, and never where it is not."""
    doubtful: bool = False
    """It may have arrived: to be settled before it is sent again."""
    references: Sequence[str] = ()
    """What the other side calls what arrived now."""
    more: bool = False
    """A part of it arrived, and the next is to be sent."""
    held: bool = False
    """Nothing was tried: a limit is used up."""

    @property
    def came(self) -> str:
        """What came of the try, for figures and traces."""
        return "part" if self.more else "retry" if self.wait is not None else self.state.value


def outcome_of(
    result: SendResult, attempts: int, in_doubt: InDoubt, settings: Settings, *, doubtful: bool = False
) -> Outcome:
    """`attempts` is the number of the try that `result` is of; `doubtful`: an earlier one may have arrived, and
    only what is known to be there ends that."""
    tries_left = attempts < settings.attempts
    match result:
        case Sent(reference, True):
            return Outcome(DeliveryState.PENDING, 0, references=[reference], more=True)
        case Sent(reference):
            return Outcome(DeliveryState.SENT, attempts, references=[reference] if reference else [])
        case Held(reason, after):
            return Outcome(DeliveryState.PENDING, attempts - 1, reason, after, doubtful, held=True)
        case Retry(reason, after) if tries_left:
            wait = max(backoff(attempts, settings), after or 0.0)
            return Outcome(DeliveryState.PENDING, attempts, reason, wait, doubtful or result.doubtful)
        case Ambiguous(reason) if tries_left and in_doubt != "flag" and not result.final:
            wait = max(backoff(attempts, settings), settings.settle_after if in_doubt == "look" else 0.0)
            return Outcome(DeliveryState.PENDING, attempts, reason, wait, doubtful=True)
        case Retry(reason) if doubtful or result.doubtful:
            return Outcome(DeliveryState.AMBIGUOUS, attempts, reason)
        case Retry(reason) | Failed(reason):
            return Outcome(DeliveryState.FAILED, attempts, reason)
        case Ambiguous(reason):
            return Outcome(DeliveryState.AMBIGUOUS, attempts, reason)
        case _:
            assert_never(result)


def measure(outcome: Outcome, adapter: str, kind: str, made_at: datetime) -> None:
    """Count one try. Waiting for a limit to let it through is none."""
    if outcome.held:
        return
    meters.count("deliveries_total", adapter=adapter, outcome=outcome.came)
    if outcome.came == "sent" and kind == "reply":
        meters.observe("delivery_seconds", (now() - made_at).total_seconds(), adapter=adapter)


def backoff(attempts: int, settings: Settings) -> float:
    """Doubling, with jitter: a fleet that lost one receiver must not come back to it in step."""
    return float(min(settings.max_backoff, settings.backoff * 2 ** (attempts - 1)) * (0.5 + random.random() / 2))
