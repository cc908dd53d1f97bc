"""What is risky in a configuration that is right: said when a process starts, and by `heyfleet doctor`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from app.config.adapters import Adapter, LocalAdapter, TelegramAdapter, WebhookAdapter
from app.config.settings import LOOPBACK, BuiltinTool, Settings

WITHOUT_GROUPS = (WebhookAdapter, LocalAdapter, TelegramAdapter)
"""Slack has user groups, and Discord roles."""


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing to think about."""

    where: str
    said: str
    process: Literal["web", "worker"]
    """Which process says so when it starts."""


def risks(settings: Settings, confirmed: Mapping[str, Collection[str]]) -> list[Risk]:
    """`confirmed`: for each agent, the names of its own tools of which some calls are asked about."""
    found = [*of_runtime(settings), *of_listeners(settings), *of_policy(settings), *of_jobs(settings)]
    for adapter in settings.adapters:
        found += of_adapter(settings, adapter, confirmed.get(adapter.agent, ()))
    return found


def of_runtime(settings: Settings) -> Iterator[Risk]:
    name = settings.runtime.name
    if name in ("host", "guarded"):
        yield Risk(
            "runtime", f"{name} runs commands on this machine, unisolated; virtual and bubblewrap don't", "worker"
        )


def of_listeners(settings: Settings) -> Iterator[Risk]:
    if settings.http.host not in LOOPBACK:
        yield Risk("http", f"listens on {settings.http.host}: put TLS in front of it", "web")


def of_policy(settings: Settings) -> Iterator[Risk]:
    bash = settings.builtin_tools.get("bash", True)
    if isinstance(bash, BuiltinTool) and bash.confirm is False:
        said = "runs every command without asking, but for what is blocked; leave confirm out to be asked by the policy"
        yield Risk("builtin_tools.bash", said, "worker")
    for pattern in settings.policy.allow:
        if not pattern.strip("*? "):
            yield Risk("policy.allow", f"{pattern!r} allows every command that is not blocked; name commands", "worker")


def of_jobs(settings: Settings) -> Iterator[Risk]:
    most, threads = settings.jobs.max_concurrent_targets, settings.worker.threads
    if settings.jobs.define and most >= threads:
        said = f"{most} runs at once take all {threads} threads of a worker: people would wait; set fewer"
        yield Risk("jobs.max_concurrent_targets", said, "worker")


def of_adapter(settings: Settings, adapter: Adapter, confirmed: Collection[str]) -> Iterator[Risk]:
    where, people = f"adapter {adapter.name}", adapter.permissions
    asking = [*(["bash"] if bash_asks(settings) else []), *confirmed]
    lists = [each for each in (people.approvers, people.admins) if each is not None]
    # A local adapter is for who is at this machine's shell, and may do anything to the fleet anyway.
    local = isinstance(adapter, LocalAdapter)
    if asking and not lists and not local:
        said = f"whoever sees a thread may approve what is asked there ({', '.join(asking)}); set permissions.approvers"
        yield Risk(where, said, "worker")
    elif asking and lists and not any(each.users or each.groups for each in lists):
        said = f"permissions name nobody: what is asked ({', '.join(asking)}) is always refused; name approvers"
        yield Risk(where, said, "worker")
    groups = any(each.groups for each in (adapter.allow, *lists) if each is not None)
    if groups and isinstance(adapter, WITHOUT_GROUPS):
        yield Risk(where, f"a {adapter.kind} adapter knows no groups: who is named by group only has no right", "web")
    if adapter.allow is None and not local:
        yield Risk(where, "has no allow: whoever gets through to it may talk with the agent; set allow.users", "web")
    if isinstance(adapter, WebhookAdapter):
        yield from of_webhook(where, adapter)


def of_webhook(where: str, adapter: WebhookAdapter) -> Iterator[Risk]:
    if adapter.unsafe_reply_http:
        yield Risk(where, "unsafe_reply_http sends callbacks unencrypted", "web")
    if adapter.secret is None:
        said = "its secret was made here, under state_dir: set one where the fleet has several machines"
        yield Risk(where, said, "web")


def bash_asks(settings: Settings) -> bool:
    """Whether any of its commands may be asked about."""
    bash = settings.builtin_tools.get("bash", True)
    return bash is True or (isinstance(bash, BuiltinTool) and bash.confirm is not False)
