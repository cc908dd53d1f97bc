"""What is thought of one simple command, by its name and its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from app.policy.places import is_device, is_root, is_system_file
from app.policy.scripts import of_script
from app.policy.tables import (
    ALWAYS_ASK,
    ALWAYS_BLOCK,
    DELETES,
    FILE_SYSTEM,
    GIT_VALUED,
    HARMLESS_GIT,
    PACKAGE_FILES,
    PACKAGE_MANAGERS,
    PACKAGE_QUERIES,
    POWER,
    SUBCOMMANDS,
)
from app.policy.verdict import ALLOW, ask, block
from app.policy.words import ANY, Word
from app.results import Verdict

WIPES = "it would wipe the system or someone's home"
WRITES_DEVICE = "it would write to a disk or a device"
REMOTE_PATH = re.compile(r"[^/]*:|rsync://")
LOADER = re.compile(r"ld(-linux.*|-musl.*|\.so.*)")
DELETERS = frozenset(("-delete", "rm", "shred", "unlink"))
NARROWING = frozenset(
    ("-name", "-iname", "-path", "-ipath", "-regex", "-size", "-mtime", "-mmin", "-newer", "-empty", "-user")
)


@dataclass(frozen=True, slots=True)
class Options:
    """A command's words, sorted: letters of short options, names of long ones, the rest."""

    letters: frozenset[str]
    names: frozenset[str]
    operands: tuple[str, ...]
    unclear: bool
    """An unquoted expansion stands where an option may be."""

    def has(self, letters: str, *names: str) -> bool:
        # Long options may be cut short, as far as it is clear which is meant: --rec for --recursive.
        return not self.letters.isdisjoint(letters) or any(
            wanted.startswith(given) for given in self.names if given for wanted in names
        )


def judge(name: str, args: Sequence[Word], *, folder: str = "") -> Verdict:
    """The verdict on one command; what it runs in its turn is judged apart. `folder`: where the script went."""
    if name in ALWAYS_BLOCK or name.startswith(("mkfs.", "newfs_")):
        return block(f"{name}: {ALWAYS_BLOCK.get(name, FILE_SYSTEM)}")
    if name in ALWAYS_ASK:
        return ask(f"{name}: {ALWAYS_ASK[name]}")
    if name == "find":
        return find(args, folder)
    if name == "kill":
        return kill(args)
    if name in RULES:
        return RULES[name](name, sorted_out(args), folder)
    scripted = of_script(name, args)
    if scripted is not ALLOW:
        return scripted
    if LOADER.fullmatch(name):
        return ask(f"{name}: it runs any program")
    versionless = name.rstrip("0123456789.")
    if versionless == "python":
        return module(args)
    tool = name if name in SUBCOMMANDS else versionless
    return by_subcommand(tool, args) if tool in SUBCOMMANDS or tool in PACKAGE_MANAGERS else ALLOW


def sorted_out(args: Sequence[Word]) -> Options:
    letters: set[str] = set()
    names: set[str] = set()
    operands: list[str] = []
    unclear = only_operands = False
    for word in args:
        if only_operands or not word.text.startswith(("-", ANY)) or word.text == "-":
            operands.append(word.text)
        elif word.text.startswith(ANY):
            unclear = True
            operands.append(word.text)
        elif word.text == "--":
            only_operands = True
        elif word.text.startswith("--"):
            names.add(word.text[2:].partition("=")[0])
        else:
            letters.update(word.text[1:])
    return Options(frozenset(letters), frozenset(names), tuple(operands), unclear)


def remove(name: str, options: Options, folder: str) -> Verdict:
    recursive = options.has("rR", "recursive")
    if recursive and ("no-preserve-root" in options.names or any(is_root(o, folder=folder) for o in options.operands)):
        return block(f"{name}: {WIPES}")
    if name == "rm" and recursive and options.has("f", "force"):
        return ask("rm: it deletes folders without asking")
    if options.unclear:
        return ask(f"{name}: what it deletes is only known when it runs")
    return ALLOW


def destroy(name: str, options: Options, _folder: str) -> Verdict:
    if any(is_device(operand) for operand in options.operands):
        return block(f"{name}: {WRITES_DEVICE}")
    return ask(f"{name}: what it deletes can't be brought back")


def change_rights(name: str, options: Options, folder: str) -> Verdict:
    if not options.has("R", "recursive"):
        return ask(f"{name}: what it changes is only known when it runs") if options.unclear else ALLOW
    if any(is_root(operand, folder=folder) for operand in options.operands):
        return block(f"{name}: it would change the rights of a whole system or home")
    return ask(f"{name}: it changes the rights of everything below a folder")


def copy(name: str, options: Options, folder: str) -> Verdict:
    """cp, mv, install, ln, tee, truncate: where do they write, and what do they take away?"""
    written = options.operands if name in ("tee", "truncate") else options.operands[1:] or options.operands
    if any(is_device(operand) for operand in written):
        return block(f"{name}: {WRITES_DEVICE}")
    if name == "mv" and any(is_root(operand, folder=folder) for operand in options.operands[:-1]):
        return block(f"mv: {WIPES}")
    if any(is_system_file(operand) for operand in (options.operands if name == "mv" else written)):
        return ask(f"{name}: it changes a file of the system")
    if name == "rsync" and (options.has("e", "rsh") or any(REMOTE_PATH.match(operand) for operand in options.operands)):
        return ask("rsync: it works on another machine")
    return ALLOW


def dd(_name: str, options: Options, _folder: str) -> Verdict:
    targets = [operand[3:] for operand in options.operands if operand.startswith("of=")]
    if any(is_device(target) for target in targets):
        return block(f"dd: {WRITES_DEVICE}")
    if options.unclear or any(target.startswith((ANY, "/dev/" + ANY)) for target in targets):
        return ask("dd: where it writes is only known when it runs")
    return ALLOW


def find(args: Sequence[Word], folder: str) -> Verdict:
    """Its deletions; what else it runs is judged apart."""
    texts = [word.text for word in args]
    if not DELETERS.intersection(texts):
        return ALLOW
    places = list(takewhile(lambda text: not text.startswith(("-", "(", "!")), texts))
    if not NARROWING.intersection(texts) and any(is_root(place, folder=folder) for place in places):
        return block(f"find: {WIPES}")
    return ask("find: it deletes what it finds") if "-delete" in texts else ALLOW


def run_level(name: str, options: Options, _folder: str) -> Verdict:
    if options.operands[:1] in (("0",), ("6",)):
        return block(f"{name}: it turns the machine off")
    return ask(f"{name}: it changes what runs on the machine")


def service(name: str, options: Options, _folder: str) -> Verdict:
    if any(operand in POWER for operand in options.operands):
        return block(f"{name}: it turns the machine off")
    return ask(f"{name}: it changes what runs on the machine")


def kill(args: Sequence[Word]) -> Verdict:
    """`kill -9 -1`: after the signal, -1 is every process."""
    return ask("kill: it ends every process") if any(word.text == "-1" for word in args[1:]) else ALLOW


def shell_option(name: str, options: Options, _folder: str) -> Verdict:
    hides = any("expand_aliases".startswith(operand) for operand in options.operands)
    return ask(f"{name}: with aliases what is run is not what stands there") if hides else ALLOW


def list_only(name: str, options: Options, _folder: str) -> Verdict:
    return ALLOW if options.has("l") else ask(f"{name}: it changes what the machine runs by itself")


def module(args: Sequence[Word]) -> Verdict:
    """python -m NAME …"""
    for at, word in enumerate(args):
        if word.text == "-m" and at + 1 < len(args):
            return judge(args[at + 1].text, args[at + 2 :])
        if not word.text.startswith("-"):
            break
    return ALLOW


def by_subcommand(tool: str, args: Sequence[Word]) -> Verdict:
    rest = list(args)
    while rest and rest[0].text.startswith("-"):
        option = rest.pop(0).text
        if tool == "git" and option.startswith(("--exec-path=", "--config-env")):
            return ask("git: a setting of it may run a command")
        if tool == "git" and option in GIT_VALUED and rest:
            value = rest.pop(0)
            if option == "-c" and (not value.known or not value.text.lower().startswith(HARMLESS_GIT)):
                return ask("git: a setting of it may run a command")
    if rest and not rest[0].known:
        return ask(f"{tool}: what it is told to do is only known when it runs")
    verb = rest[0].text if rest else ""
    if tool in PACKAGE_MANAGERS:
        return ALLOW if not rest or verb in PACKAGE_QUERIES else ask(f"{tool} {verb}: {PACKAGE_MANAGERS[tool]}")
    if tool == "git" and verb == "rebase" and sorted_out(rest[1:]).has("x", "exec"):
        return ask("git rebase: it can run other commands")
    reason = SUBCOMMANDS[tool].get(verb, "")
    if reason == DELETES and not sorted_out(rest[1:]).has("f", "force"):
        return ALLOW
    return ask(f"{tool} {verb}".rstrip() + f": {reason}") if reason else ALLOW


def package_file(name: str, options: Options, _folder: str) -> Verdict:
    changes, queries = PACKAGE_FILES[name]
    long = not options.names.isdisjoint(("install", "remove", "purge", "unpack", "erase", "upgrade", "sync"))
    if long or (options.has(changes) and not options.has(queries)):
        return ask(f"{name}: it changes what is installed")
    return ALLOW


Rule = Callable[[str, Options, str], Verdict]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("rm", "unlink", "rmdir"), remove),
    **dict.fromkeys(("shred", "srm", "wipe", "badblocks", "hdparm", "sgdisk", "fdisk", "sfdisk", "parted"), destroy),
    **dict.fromkeys(("chmod", "chown", "chgrp", "setfacl"), change_rights),
    **dict.fromkeys(("cp", "mv", "install", "ln", "tee", "truncate", "rsync"), copy),
    **dict.fromkeys(("init", "telinit"), run_level),
    **dict.fromkeys(("systemctl", "loginctl", "service", "rc-service", "launchctl"), service),
    **dict.fromkeys(PACKAGE_FILES, package_file),
    "dd": dd,
    "shopt": shell_option,
    "crontab": list_only,
}
