"""R1 to R5 in a short storm: the run of `make chaos`, cut to two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.chaos import Options, run
from bench.storm import KINDS

MESSAGES = 800


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_out_of_order_in_a_storm(tmp_path: Path) -> None:
    outcome = run(Options(MESSAGES, seconds=100, seed=20, settle=90, quick_leases=True), tmp_path)
    assert not outcome.violations, outcome.text()
    assert {kind for kind in KINDS if outcome.happened[kind]} == set(KINDS), outcome.text()
    # The storm met what it is about: turns, steers and commands, and callbacks that had to be sent again.
    assert outcome.facts["turns"] == MESSAGES
    assert outcome.facts["steers"], outcome.text()
    assert outcome.facts["calls"], outcome.text()
    assert outcome.facts["deliveries tried again"], outcome.text()
