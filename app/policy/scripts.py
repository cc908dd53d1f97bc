"""Commands with a language of their own that can run commands, or whose options can: sed, awk, tar, bash's builtins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from app.policy.verdict import ALLOW, Verdict, ask
from app.policy.words import Word

RUNS = "it can run other commands"
SED_RUNS = re.compile(
    r"(?:^|[;{}\n0-9$/!,])\s*e(?:\s|$)|s(?P<mark>[^\w\s]).*(?P=mark).*(?P=mark)[gpiImM0-9]*e", re.DOTALL
)
SED_VALUED = ("-e", "--expression")
AWK_RUNS = re.compile(r"system\s*\(|(?<!\|)\|(?!\|)|getline|@load|@include|/inet/")
TAR_RUNS = ("--to-command", "--checkpoint-action", "--use-compress-program", "--rsh-command", "--info-script",
            "--new-volume-script", "-I", "-F")  # fmt: skip
LOADS = {"enable": "fd", "hash": "p", "mapfile": "C", "readarray": "C", "compgen": "CF", "complete": "CF"}
"""Builtins of bash, and the options with which they load or run something."""


def of_script(name: str, args: Sequence[Word]) -> Verdict:
    """The verdict on what such a command is told to do; ALLOW for all others."""
    match name:
        case "sed" | "gsed":
            return sed(name, args)
        case "awk" | "gawk" | "mawk" | "nawk":
            return awk(name, args)
        case "tar" | "gtar" | "bsdtar":
            runs = any(word.text.partition("=")[0].startswith(TAR_RUNS) for word in args)
            return ask(f"{name}: {RUNS}") if runs else ALLOW
    letters = set("".join(word.text[1:] for word in args if word.text.startswith("-")))
    return ask(f"{name}: {RUNS}") if not letters.isdisjoint(LOADS.get(name, "")) else ALLOW


def sed(name: str, args: Sequence[Word]) -> Verdict:
    texts = [word.text for word in args]
    scripts = [text for option, text in pairwise(texts) if option in SED_VALUED]
    scripts += [text.partition("=")[2] for text in texts if text.startswith("--expression=")]
    scripts = scripts or [text for text in texts if not text.startswith("-")][:1]
    if any(word.text == "-f" or word.text.startswith("--file") for word in args):
        return ask(f"{name}: what its script does can't be seen")
    return ask(f"{name}: {RUNS}") if any(SED_RUNS.search(script) for script in scripts) else ALLOW


def awk(name: str, args: Sequence[Word]) -> Verdict:
    if any(word.text == "-f" or word.text.startswith(("--file", "-l")) for word in args):
        return ask(f"{name}: what its script does can't be seen")
    return ask(f"{name}: {RUNS}") if any(AWK_RUNS.search(word.text) for word in args) else ALLOW
