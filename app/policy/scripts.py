"""Commands with a language of their own that can run commands, or whose options can: sed, awk, tar, bash's builtins."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.policy.tables import PROGRAM_VARIABLES
from app.policy.verdict import ALLOW, ask
from app.policy.words import Word
from app.results import Verdict

RUNS = "it can run other commands"
LONGEST = 2000
"""Characters of a script that is looked at: the pattern below takes the square of their number."""
SED_RUNS = re.compile(
    r"(?:^|[;{}\n0-9$/!,])\s*e(?:\s|$)"
    r"|s(?P<mark>[^\w\s\\])(?:\\.|(?!(?P=mark))[^\\])*+(?P=mark)(?:\\.|(?!(?P=mark))[^\\])*+(?P=mark)[gpiImM0-9]*e",
    re.DOTALL,
)
SED_FILE = re.compile(r"-[nErsuzi]*f|--file")
AWK_FILE = re.compile(r"-[fEli]|--(file|exec|load|include)")
AWK_RUNS = re.compile(r"system\s*\(|(?<!\|)\|(?!\|)|getline|@load|@include|/inet/")
TAR_RUNS = ("--to-command", "--checkpoint-action", "--use-compress-program", "--rsh-command", "--info-script",
            "--new-volume-script")  # fmt: skip
SHORTEST_NAME = len("--x")
LOADS = {"enable": "fd", "hash": "p", "mapfile": "C", "readarray": "C", "compgen": "CF", "complete": "CF"}
"""Builtins of bash, and the options with which they load or run something."""


def of_script(name: str, args: Sequence[Word]) -> Verdict:
    """The verdict on what such a command is told to do; ALLOW for all others."""
    match name:
        case "sed" | "gsed":
            return of_text(name, args, SED_RUNS, SED_FILE)
        case "awk" | "gawk" | "mawk" | "nawk":
            return of_text(name, args, AWK_RUNS, AWK_FILE)
        case "tar" | "gtar" | "bsdtar":
            return ask(f"{name}: {RUNS}") if tar_runs([word.text for word in args]) else ALLOW
        case "printf" | "read" | "mapfile" | "readarray" if any(word.text in PROGRAM_VARIABLES for word in args):
            return ask(f"{name}: it sets a variable that says which programs are run")
    letters = set("".join(word.text[1:] for word in args if word.text.startswith("-")))
    return ask(f"{name}: {RUNS}") if not letters.isdisjoint(LOADS.get(name, "")) else ALLOW


def of_text(name: str, args: Sequence[Word], runs: re.Pattern[str], from_file: re.Pattern[str]) -> Verdict:
    """Every word is looked at: which of them is the script depends on options that may stand in one word with it."""
    texts = [word.text for word in args]
    if any(from_file.match(text) for text in texts):
        return ask(f"{name}: what its script does can't be seen")
    if any(len(text) > LONGEST for text in texts):
        return ask(f"{name}: its script is too long to be looked at")
    return ask(f"{name}: {RUNS}") if any(runs.search(text) for text in texts) else ALLOW


def tar_runs(texts: Sequence[str]) -> bool:
    # The first word may be letters without a dash.
    short = "".join(text for at, text in enumerate(texts) if not text.startswith("--") and (at == 0 or text[:1] == "-"))
    long = [text.partition("=")[0] for text in texts if text.startswith("--")]
    return not {"I", "F"}.isdisjoint(short) or any(
        # GNU takes any beginning of an option's name that is no other's.
        len(option) > SHORTEST_NAME and known.startswith(option)
        for option in long
        for known in TAR_RUNS
    )
