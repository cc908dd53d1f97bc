"""The operator's own patterns: block over allow over approve over what is built in."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.classify import classify
from app.policy.patterns import Patterns
from tests.unit.policy.test_classify import CONSTRUCTS, PREFIXES, QUOTING

OURS = Patterns(
    allow=("git push origin docs/*", "kubectl get *", "curl http://127.0.0.1:*", "reboot"),
    approve=("make deploy *", "git tag *", "poweroff"),
    block=("kubectl delete *", "git push --force *", "git push * --force*", "*/deploy.sh", "drop-*"),
)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        # allow comes before what is built in, and for the single command only
        ("git push origin docs/readme", "allow"),
        ("git push origin main", "ask"),
        ("git 'push'   origin \"docs/a b\"", "allow"),
        ("/usr/bin/git push origin docs/readme", "allow"),
        ("git push origin docs/readme && git push origin main", "ask"),
        ("kubectl get", "allow"),
        ("kubectl get pods -A | grep x > out", "allow"),
        ("kubectl get $(curl http://example.org)", "ask"),
        ("kubectl get pods > /etc/hosts", "ask"),
        ("curl http://127.0.0.1:8000/health", "allow"),
        ("sudo kubectl get pods", "allow"),
        ("reboot", "allow"),
        # approve asks about what would be allowed
        ("make", "allow"),
        ("make deploy", "ask"),
        ("make deploy prod", "ask"),
        ("git tag v1", "ask"),
        # block comes before everything
        ("kubectl delete pod x", "block"),
        ("kubectl delete", "block"),
        ("ls; env A=1 kubectl delete pod x", "block"),
        ("bash -c 'kubectl delete pod x'", "block"),
        ("git push origin docs/readme --force", "block"),
        ("./scripts/deploy.sh", "block"),
        ("drop-everything now", "block"),
        ("git -C /tmp --no-pager push --force x", "block"),
        ("./scripts/../scripts//deploy.sh", "block"),
        # approve never weakens what is blocked anyway
        ("make deploy x; mkfs.ext4 /dev/sda", "block"),
        ("poweroff", "block"),
        # and can't be slipped past by what is only known when it runs
        ("kubectl $VERB pod x", "ask"),
        ('kubectl get "$X"', "ask"),
        ("$TOOL delete pod x", "ask"),
        ("echo $X", "allow"),
    ],
)
def test_in_which_order_they_hold(command: str, answer: str) -> None:
    assert classify(command, OURS).answer == answer


def test_the_reason_names_the_pattern() -> None:
    assert classify("kubectl delete pod x", OURS).reason == "kubectl: the policy blocks kubectl delete *"
    assert classify("make deploy prod", OURS).reason == "make: the policy asks about make deploy *"


ANYTHING = Patterns(allow=("*",), block=("frobnicate *",))


@given(st.lists(st.sampled_from(CONSTRUCTS + PREFIXES + QUOTING), max_size=3))
def test_a_pattern_s_blocked_command_in_any_construct_never_becomes_allow(constructs: list[str]) -> None:
    """Not even where everything else is allowed."""
    script = "frobnicate --all"
    for construct in constructs:
        if construct in PREFIXES and script != "frobnicate --all":
            continue
        inside = shlex.quote(script) if construct in QUOTING else script
        script = construct.format(inside) + ("\n" if "END" in construct else "")
    assert classify(script, ANYTHING).answer != "allow"


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    stars = Patterns(block=("*a" * 100 + "b",))
    started = time.process_time()
    classify("echo " + "a" * 9000, stars)
    assert time.process_time() - started < 5


def test_what_is_too_long_to_compare_is_asked_about() -> None:
    assert classify("echo " + "x" * 20_000, OURS).answer == "ask"
    assert classify("echo " + "x" * 20_000).answer == "allow"
