"""Which runtimes there are, by name: the built-in ones, and those of the entry-point group `heyfleet.runtimes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points

from app.config.settings import Runtime as RuntimeSettings
from app.errors import Permanent
from app.policy.patterns import NO_PATTERNS, Patterns
from app.ports import Runtime
from app.runtimes.workspace import workspace_id

__all__ = ["BUILT_IN", "GROUP", "open_runtimes", "workspace_id"]

GROUP = "heyfleet.runtimes"
BUILT_IN = {
    "virtual": "app.runtimes.virtual:VirtualRuntime",
    "bubblewrap": "app.runtimes.bubblewrap:BubblewrapRuntime",
    "guarded": "app.runtimes.guarded:GuardedRuntime",
    "host": "app.runtimes.host:HostRuntime",
}
"""Loaded when asked for: a machine need not have what it does not offer."""

Factory = Callable[..., Runtime]


def open_runtimes(
    names: Sequence[str], settings: RuntimeSettings, patterns: Patterns = NO_PATTERNS
) -> dict[str, Runtime]:
    """The runtimes of these names, each tried on this machine; `patterns` are the command policy's.

    Raises Permanent, which lists every one that is unknown or can't run here, with the cure.
    """
    runtimes: dict[str, Runtime] = {}
    problems: list[str] = []
    for name in names:
        try:
            made = factory(name)
            runtime = made(settings, patterns) if name == "guarded" else made(settings)
        except (Permanent, ImportError) as error:
            problems.append(f"runtime {name}: {error}")
            continue
        reason = runtime.available()
        if reason:
            problems.append(f"runtime {name} can't run here: {reason}")
        runtimes[name] = runtime
    if problems:
        raise Permanent("; ".join(problems))
    return runtimes


def factory(name: str) -> Factory:
    """What makes the runtime, a callable that takes the `runtime` settings; a built-in name can't be taken over.

    That of `guarded` takes the policy's patterns as well.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        made: Factory = getattr(import_module(module), attribute)
        return made
    others = entry_points(group=GROUP)
    for entry in others:
        if entry.name == name:
            loaded: Factory = entry.load()
            return loaded
    known = ", ".join(sorted({*BUILT_IN, *(entry.name for entry in others)}))
    raise Permanent(f"there is no such runtime (there are: {known})")
