"""Commands that run other commands: what they will run, so that it can be looked at in its turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.policy.tables import named
from app.policy.words import ANY, Word

SHELLS = frozenset(("bash", "sh", "dash", "zsh", "ksh", "mksh", "ash", "fish", "rbash"))
INTERPRETERS = frozenset(("python", "perl", "ruby", "node", "nodejs", "php", "lua", "deno", "bun"))
RESERVED = frozenset(named("! { } if then elif else fi while until do done for select case esac function [[ ]]"))
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Argv:
    """Words that are run as a command."""

    words: Sequence[Word]


@dataclass(frozen=True, slots=True)
class Code:
    """Text that is run as a script."""

    text: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """It runs something, but what can't be told."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stdin:
    """What a command reads: `texts` as far as they stand in the script."""

    piped: bool
    texts: Sequence[str]


Inner = Argv | Code | Unclear


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How to find the command among the words: option letters and names without and with a value, and how many
    words stand before it."""

    flags: str = ""
    valued: str = ""
    long_flags: str = ""
    long_valued: str = ""
    before: int = 0


WRAPPERS = {
    "sudo": Wrapper("AbBEHKklnPSisv", "CcDghpRrtTUu",
        "askpass background bell preserve-env set-home login stdin shell non-interactive remove-timestamp "
        "reset-timestamp validate list",
        "close-from chdir group host prompt chroot role type command-timeout other-user user"),
    "doas": Wrapper("Lns", "Cu"),
    "env": Wrapper("i0v", "uC", "ignore-environment null debug", "unset chdir"),
    "xargs": Wrapper("0rtpxo", "aEILnPsd", "null no-run-if-empty verbose interactive exit open-tty",
        "arg-file delimiter max-args max-procs max-lines max-chars replace eof"),
    "timeout": Wrapper("v", "ks", "foreground preserve-status verbose", "kill-after signal", before=1),
    "nohup": Wrapper(), "setsid": Wrapper("cfw", "", "ctty fork wait"), "time": Wrapper("pv", "fo"),
    "nice": Wrapper("0123456789", "n", "", "adjustment"), "ionice": Wrapper("t", "cnpPu", "ignore", "class classdata"),
    "stdbuf": Wrapper("", "ioe", "", "input output error"), "chronic": Wrapper(), "unbuffer": Wrapper("p"),
    "command": Wrapper("p"), "builtin": Wrapper(), "exec": Wrapper("cl", "a"), "busybox": Wrapper(),
    "toybox": Wrapper(), "flock": Wrapper("sxuno", "wE", "shared exclusive unlock nonblock close", "timeout", before=1),
    "strace": Wrapper("fqtTv", "eops"), "caffeinate": Wrapper("dimsu", "tw"), "taskset": Wrapper("ac", before=1),
    "ltrace": Wrapper("fSt", "eop"), "eatmydata": Wrapper(), "fakeroot": Wrapper(),
    "chrt": Wrapper("abdfiomprRv", "TPD", before=1),
}  # fmt: skip
LAUNCHERS = frozenset(named(
    "setarch linux32 linux64 i386 x86_64 uname26 ssh-agent setpriv runuser prlimit numactl valgrind rlwrap firejail "
    "proot cgexec dbus-run-session dbus-launch xvfb-run gosu su-exec tini dumb-init perf hyperfine entr heaptrack "
    "capsh start-stop-daemon daemonize at batch run-one sem reptyr newgrp sg faketime trickle torsocks tsocks"
))  # fmt: skip
"""Commands that run others, and whose options are not known here: each word may be the beginning."""
MOST_STARTS = 10

WATCH = Wrapper(
    "bcdegprtwx",
    "nq",
    "beep color no-color differences errexit chgexit precise no-rerun no-title no-wrap exec",
    "interval equexit",
)


def inner(name: str, args: Sequence[Word], stdin: Callable[[], Stdin]) -> list[Inner]:
    """What a command runs; empty where it is not known to run anything else. `stdin` is only looked at by what reads
    commands from there."""
    if name in LAUNCHERS:
        return launched(name, args)
    if name in WRAPPERS:
        return wrapped(name, WRAPPERS[name], args)
    if name in SHELLS:
        return shell(args, stdin)
    if name in ("source", "."):
        return shell([Word("--"), *(args[1:] if args[:1] and args[0].text == "--" else args)], stdin)
    if name in ("find", "fd", "fdfind"):
        return executed(args)
    if name.rstrip("0123456789.") in INTERPRETERS:
        reads = all(arg.text == "-" for arg in args) and stdin().piped
        return [Unclear(f"what is piped into {name} can't be seen")] if reads else []
    return handed_over(name, args)


def launched(name: str, args: Sequence[Word]) -> list[Inner]:
    if len(args) > MOST_STARTS:
        return [Unclear(f"what {name} runs can't be told")]
    texts = [Code(word.text) for word in args if word.known and " " in word.text]
    return [*every_start(args), *texts]


def wrapped(name: str, wrapper: Wrapper, args: Sequence[Word]) -> list[Inner]:
    if name == "command" and args and re.fullmatch(r"-p*[vV][vVp]*", args[0].text):
        return []  # says only where a command is found
    found = after_options(name, wrapper, args)
    if isinstance(found, Unclear):
        return [found]
    rest, placeholder = found
    rest = rest[wrapper.before :]
    if placeholder:
        rest = [Word(word.text.replace(placeholder, ANY), word.pattern) for word in rest]
    elif name == "xargs" and rest:
        rest.append(Word(ANY))
    if not rest and name in ("sudo", "doas") and args:
        return [Unclear(f"{name} without a command opens a shell")]
    if rest and rest[0].text in ("-c", "--command") and name == "flock":
        return [code(name, rest[1:])]
    return [Argv(rest)] if rest else []


def every_start(words: Sequence[Word]) -> list[Inner]:
    """Where the parser takes bash's own syntax for words, whichever may be a command is looked at."""
    return [Argv(words[start:]) for start in range(len(words)) if words[start].text not in {"in", *RESERVED}]


def after_options(name: str, wrapper: Wrapper, args: Sequence[Word]) -> tuple[list[Word], str] | Unclear:
    """The words from the command on, and the text that xargs replaces in them."""
    rest, placeholder = list(args), ""
    while rest and rest[0].text.startswith("-") and (rest[0].text != "-" or name == "env"):
        option = rest.pop(0).text
        if option == "--":
            break
        if option == "-":
            continue  # of env: start with an empty environment
        valued = takes_value(wrapper, option)
        if valued is None:
            return Unclear(f"{name} has an option that is not known here: {option}")
        value = rest.pop(0).text if valued and rest else option[2:]
        if name == "xargs" and option.startswith(("-I", "--replace")):
            placeholder = value.removeprefix("replace=") or "{}"
    return rest, placeholder


def takes_value(wrapper: Wrapper, option: str) -> bool | None:
    """Whether the option's value is the next word; None for an option that is not known."""
    if option.startswith("--"):
        long, has_value, _ = option[2:].partition("=")
        if long in wrapper.long_valued.split():
            return not has_value
        return False if long in wrapper.long_flags.split() else None
    for at, letter in enumerate(option[1:], 1):
        if letter in wrapper.valued:
            return at == len(option) - 1
        if letter not in wrapper.flags:
            return None
    return False


def shell(args: Sequence[Word], stdin: Callable[[], Stdin]) -> list[Inner]:
    rest, is_code = list(args), False
    if any(word.text in ("expand_aliases", "--posix") or word.text.startswith("--command=") for word in args):
        return [Unclear("an option of the shell changes how commands are read")]
    while rest and rest[0].text[:1] in ("-", "+") and len(rest[0].text) > 1:
        option = rest.pop(0).text
        if option == "--":
            break
        short = not option.startswith("--")
        is_code |= (short and "c" in option) or option == "--command"
        if rest and (option in ("--rcfile", "--init-file") or (short and option[-1] in "oO")):
            rest.pop(0)
    if is_code:
        return [code("the shell", rest[:1])] if rest else []
    if rest and rest[0].text not in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        return [] if rest[0].known else [Unclear("which script the shell runs is only known when it runs")]
    read = stdin()
    texts: list[Inner] = [Code(text) for text in read.texts]
    return [*texts, *([Unclear("text is piped into a shell")] if read.piped else [])]


def handed_over(name: str, args: Sequence[Word]) -> list[Inner]:
    """Commands that take code as text."""
    match name:
        case "eval":
            return [code(name, args[1:] if args[:1] and args[0].text == "--" else args)]
        case "trap":
            words = args[1:] if args[:1] and args[0].text == "--" else args
            return [code(name, words[:1])] if len(words) > 1 and words[0].text not in ("-", "") else []
        case "alias":
            return [code(name, [Word(arg.text.partition("=")[2])]) for arg in args if "=" in arg.text]
        case "watch":
            found = after_options(name, WATCH, args)
            return [found if isinstance(found, Unclear) else code(name, found[0])]
        case "su" | "script":
            for option, value in pairwise(args):
                if option.text in ("-c", "--command"):
                    return [code(name, [value])]
            return [Unclear(f"{name} opens a shell")]
        case "parallel":
            return [Unclear("what parallel runs is put together when it runs")]
        case "coproc":
            return every_start(args)
    return []


def executed(args: Sequence[Word]) -> list[Inner]:
    """The commands of find's -exec and its kin, and of fd's -x."""
    commands: list[Inner] = []
    for at, arg in enumerate(args):
        if arg.text in ("-exec", "-execdir", "-ok", "-okdir", "-x", "-X", "--exec", "--exec-batch"):
            words: list[Word] = []
            for word in args[at + 1 :]:
                if word.text == ";" or (word.text == "+" and words and words[-1].text == "{}"):
                    break
                words.append(word)
            commands.append(Argv(words))
    return commands


def code(name: str, words: Sequence[Word]) -> Inner:
    if all(word.known for word in words):
        return Code(" ".join(word.text for word in words))
    return Unclear(f"what {name} runs is only known when it runs")
