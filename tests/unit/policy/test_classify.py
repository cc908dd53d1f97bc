"""The command policy: a table of commands, and that nothing a blocked command is put into makes it harmless."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.policy.classify import classify
from tests.unit.policy.commands import ALLOWED, ASKED, BLOCKED, LOOKED_THROUGH


@pytest.mark.parametrize("command", BLOCKED + LOOKED_THROUGH)
def test_it_blocks(command: str) -> None:
    assert classify(command).answer == "block"


@pytest.mark.parametrize("command", ASKED)
def test_it_asks(command: str) -> None:
    verdict = classify(command)
    assert verdict.answer == "ask"
    assert verdict.reason


@pytest.mark.parametrize("command", ALLOWED)
def test_it_allows(command: str) -> None:
    assert classify(command).answer == "allow"


def test_the_reason_names_the_command_and_what_it_would_do() -> None:
    assert classify("ls; sudo mkfs.ext4 /dev/sda").reason == "mkfs.ext4: it makes a new file system over what is there"


def test_what_is_too_long_or_too_deep_is_asked_about() -> None:
    assert classify("echo " + "x" * 200_000).answer == "ask"
    nested = "true"
    for _ in range(10):
        nested = f"bash -c {shlex.quote(nested)}"
    assert classify(nested).answer == "ask"


CONSTRUCTS = [
    "{}; ls", "ls; {}", "true && {}", "false || {}", "{} | cat", "cat f | {}", "{} &\nwait", "! {}",
    "( {} )", "{{ {}; }}", "if {}; then ls; fi", "if true; then {}; else ls; fi", "if true; then ls; else {}; fi",
    "while true; do {}; done", "until {}; do ls; done", "for x in a b; do {}; done", "for x in $( {} ); do ls; done",
    "for ((i=0; i<3; i++)); do {}; done", "select x in a; do {}; done", "case x in x) {} ;; esac",
    "case $( {} ) in *) ls ;; esac", "f() {{ {}; }}; f", "function g {{ {}; }}", "echo $( {} )", 'echo "a $( {} ) b"',
    "x=$( {} )", "export X=$( {} )", "a=(1 $( {} ))", "echo ${{x:-$( {} )}}", "[[ -n $( {} ) ]]", '[ -n "$( {} )" ]',
    "(( $( {} ) ))", "echo $(( $( {} ) + 1 ))", "cat < <( {} )", "diff <( {} ) <(ls)", "{} > out 2>&1", "time {}",
    "cat <<END\n$( {} )\nEND", 'cat <<< "$( {} )"', "ls # nothing\n{}",
]  # fmt: skip
PREFIXES = ["A=1 B=2 {}", "time {}", "env A=1 nohup {}", "sudo -n {}", "xargs -0 {} < list", "find . -exec {} ';'"]
"""Before one simple command only."""
QUOTING = ["bash -c {}", "sh -ec {}", "eval {}", "trap {} EXIT", "sudo su -c {}", "echo {} | bash", "bash <<< {}"]
"""Handed a whole script, as one word."""
SIMPLE = [command for command in BLOCKED if not set(";&|<>(){}") & set(command)]


@st.composite
def hidden(draw: st.DrawFn) -> str:
    script: str = draw(st.sampled_from(SIMPLE))
    for prefix in draw(st.lists(st.sampled_from(PREFIXES), max_size=2, unique=True)):
        script = prefix.format(script)
    for construct in draw(st.lists(st.sampled_from(CONSTRUCTS + QUOTING), max_size=4)):
        inside = shlex.quote(script) if construct in QUOTING else script
        # A here-document's end must stay alone on its line.
        script = construct.format(inside) + ("\n" if "END" in construct else "")
    return script


@given(hidden())
@example("sudo -n time env A=1 nohup rm -rf /")
def test_a_blocked_command_inside_any_construct_never_becomes_allow(script: str) -> None:
    assert classify(script).answer != "allow"


TRICKS = [
    "command -- rm -rf /", "command -pp rm -rf /", "builtin command -- rm -rf /", "env - rm -rf /", "env -i - rm -rf /",
    "find . -exec env - rm -rf / ';'", "taskset -c 0 rm -rf /", "setarch -R rm -rf /", "setarch x86_64 -R rm -rf /",
    "eval -- 'rm -rf /'", "flock f --command 'rm -rf /'", "fish --command 'rm -rf /'", ". /dev/stdin <<< 'rm -rf /'",
    "source <(echo rm -rf /)", "shopt -s expand_aliases\nalias x=rm\nx -rf /", "bash -O expand_aliases -c 'x'",
    'f(){ rm "$@"; }; f -rf /etc', 'a=(-rf /); rm "${a[@]}"', "rm --rec --for /", "ssh-agent rm -rf /",
    "setpriv --no-new-privs rm -rf /", "prlimit --nofile=9 rm -rf /", "hyperfine 'rm -rf /'", "valgrind -q rm -rf /",
]  # fmt: skip


@pytest.mark.parametrize("script", TRICKS)
def test_what_runs_other_commands_hides_none(script: str) -> None:
    """Each of these was allowed once; bash would have run the command."""
    assert classify(script).answer != "allow"


@pytest.mark.parametrize(
    "script",
    [
        "|".join(["a"] * 2000),
        "|".join(["sh"] * 900),
        "&&".join(["a"] * 1000),
        "$(" * 1000 + "a" + ")" * 1000,
        "$(" * 33_000,
        "'" + "a\\\n" * 30_000 + "'",
        "{a,b}" * 18_000,
        "ssh-agent " * 9 + "'ssh-agent " + "ssh-agent " * 9 + "'",
    ],
)
def test_no_script_takes_long_to_look_at(script: str) -> None:
    """A worker looks at it, and can do little else meanwhile. Cubic once: these took minutes."""
    started = time.process_time()
    classify(script)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("construct", CONSTRUCTS + PREFIXES)
def test_a_blocked_command_in_one_construct_stays_blocked(construct: str) -> None:
    assert classify(construct.format("rm -rf /")).answer == "block"


@given(st.text(alphabet=st.sampled_from(list("rm -f/$(){}[]'\"`\\;&|<>#~*a=\n\0é\ud800")), max_size=40))
def test_it_has_an_answer_for_whatever_comes(command: str) -> None:
    assert classify(command).answer in ("allow", "ask", "block")
