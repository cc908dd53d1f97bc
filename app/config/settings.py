"""heyfleet.yaml as typed, frozen settings. Every key that exists is here; an unknown key is an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from app.config.adapters import Adapter, LocalAdapter, People, Permissions
from app.config.jobs import Jobs, JobsSetting
from app.config.messages import Messages
from app.config.section import Section
from app.config.units import Duration, Size

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Agent(Section):
    path: Path = Path("./agent")
    model: str = "demo/echo"
    """`provider/name`, or a key of `models`."""


class ModelAlias(Section):
    model: str
    base_url: str | None = None
    api_key: SecretStr | None = None
    context_window: int = Field(default=128_000, ge=1000)
    """Tokens; compaction starts at `task.compact_at` of it."""
    timeout: Duration = 300.0
    """How long the model may be silent."""
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    images: bool = True
    """Whether the model can be shown pictures; false for one that refuses them."""


Pattern = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


class Http(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    """gunicorn processes of one `web`."""
    threads: int = Field(default=32, ge=2)
    """Requests at once in each of them; half of them may wait for a turn's end (`sync`, `?wait=`)."""


class Health(Section):
    """Where worker, runner, beat and gateway answer probes and Prometheus; web does on its own port."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)
    """Unset: nowhere. Each process of one machine needs another; in containers all may have the same."""


class Flower(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=5555, ge=0, le=65535)
    basic_auth: SecretStr | None = None
    """`user:password`; several with a comma between them. Needed where others than this machine reach it."""

    @model_validator(mode="after")
    def asks_who_comes_from_elsewhere(self) -> Flower:
        auth = self.basic_auth.get_secret_value() if self.basic_auth else ""
        if auth and not all(re.fullmatch(r"[^:,\s]+:[^,\s]+", one) for one in auth.split(",")):
            raise ValueError("basic_auth must be user:password, or several of these with a comma between them")
        if self.host not in LOOPBACK and not auth:
            raise ValueError(
                f"Flower on {self.host} shows everybody what the fleet does, and lets them stop it: "
                "set flower.basic_auth, or flower.host: 127.0.0.1"
            )
        return self


class Runtime(Section):
    name: Literal["virtual", "bubblewrap", "guarded", "host"] = "virtual"
    timeout: Duration = 60.0
    """How long one command may run."""
    max_concurrent: int = Field(default=12, ge=1)
    """Commands at once in the whole fleet."""
    max_concurrent_per_chat: int = Field(default=1, ge=1)
    workspace: Path = Path("./workspace")
    """Where sandboxes that need a folder have it; share it between machines and they may move."""
    network: bool = False
    """Whether commands reach the network, where the runtime can tell."""
    max_output_bytes: Size = 50_000
    max_output_lines: int = Field(default=1000, ge=10)
    max_memory: Size = 512_000_000
    max_processes: int = Field(default=128, ge=4)
    max_file_bytes: Size = 64_000_000


class Policy(Section):
    """Globs for single commands, which come before the built-in lists: block over allow over approve."""

    allow: list[Pattern] = []
    approve: list[Pattern] = []
    """Asked about."""
    block: list[Pattern] = []


class BuiltinTool(Section):
    confirm: bool | None = None
    """true: each call is asked about; false: none is; unset: bash as the policy says, the others not."""


class Bypass(Section):
    duration: Duration = 300.0
    """How long one holds where no time is named."""
    max_duration: Duration = 900.0
    scope: Literal["thread", "channel", "user", "adapter"] = "thread"
    """Where its requester is not asked: in this thread, this channel, all of this team, all of this adapter."""


class Approval(Section):
    expires_in: Duration = Field(default=1800.0, ge=1)
    """No answer until then means no."""
    allow_self_approval: bool = True
    bypass: Bypass = Bypass()


class Task(Section):
    busy: Literal["steer", "follow_up", "reject"] = "steer"
    max_steps: int = Field(default=50, ge=1)
    turn_timeout: Duration = 1800.0
    """Working time; waiting is not counted."""
    cancel: Literal["admin", "approver", "initiator", "allowed"] = "initiator"
    """Who may cancel a turn: each of these includes those before it."""
    model_attempts: int = Field(default=6, ge=1)
    """How often one step is tried before its turn fails."""
    compact_at: float = Field(default=0.7, gt=0, le=1)
    """The share of the context window at which the older part of a transcript is summarised."""


class Worker(Section):
    threads: int = Field(default=200, ge=1)
    """Turns and deliveries at once in one worker process."""


class Runner(Section):
    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    """Made at first start and kept in `state_dir` where unset."""
    runtimes: list[Literal["virtual", "bubblewrap", "guarded", "host"]] | None = None
    """What this machine offers; `runtime.name` where unset."""
    threads: int = Field(default=16, ge=1)


class Lease(Section):
    ttl: Duration = 15.0
    renew: Duration = 5.0
    sweep: Duration = 2.0

    @model_validator(mode="after")
    def renewed_in_time(self) -> Lease:
        if self.renew * 2 > self.ttl:
            raise ValueError("lease.renew must be at most half of lease.ttl, or one slow renewal loses every lane")
        return self


class Delivery(Section):
    attempts: int = Field(default=12, ge=1)
    backoff: Duration = 2.0
    """The first wait between attempts; doubled each time, with jitter."""
    max_backoff: Duration = 600.0
    settle_after: Duration = 10.0
    """How long after a send whose answer was lost it is looked for: a slow provider may show it only then."""


class Retention(Section):
    events: Duration = 90 * 86400.0
    """How long audit events are kept."""
    jobs: Duration = 90 * 86400.0
    """How long it is kept what became of the due times of jobs, and of their runs."""
    receipts: Duration = 30 * 86400.0
    """How long a provider's event is remembered, so that a late repetition of it is still a duplicate."""


class Attachments(Section):
    max_bytes: Size = 25_000_000


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """auto: console on a terminal, JSON elsewhere."""


class Tracing(Section):
    """OpenTelemetry. What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say is added to each span's resource."""

    endpoint: str | None = None
    """A collector's address for OTLP over HTTP (http://collector:4318). Unset: no traces."""
    headers: dict[str, SecretStr] = {}
    """Sent with each batch: what the collector knows us by."""
    sample: float = Field(default=1.0, le=1)
    """The share of messages whose traces are kept."""

    @field_validator("endpoint")
    @classmethod
    def is_an_address(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not is_plain_address(endpoint):
            said = "must be the http(s) address of a collector, like http://collector:4318"
            raise ValueError(f"{said}; keys go to tracing.headers")
        return endpoint

    @field_validator("headers")
    @classmethod
    def can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not re.fullmatch(r"[\w-]+", name, re.ASCII) or not re.fullmatch(r"[ -~]+", value.get_secret_value()):
                raise ValueError(f"{name!r}: a header's name is letters, digits, - and _, and its value plain ASCII")
        return headers


def is_plain_address(url: str) -> bool:
    """Of a server, without a password or a query."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_host and re.fullmatch(r"https?://[^\s@?#]+", url) is not None


def default_adapters() -> list[Adapter]:
    return [LocalAdapter(kind="local", name="local")]


class Settings(Section):
    agents: dict[str, Agent] = Field(default_factory=lambda: {"default": Agent()}, min_length=1)
    models: dict[str, ModelAlias] = {}
    database_url: SecretStr = SecretStr("embedded")
    redis_url: SecretStr = SecretStr("embedded")
    adapters: list[Adapter] = Field(default_factory=default_adapters)
    http: Http = Http()
    health: Health = Health()
    flower: Flower = Flower()
    scope: Literal["channel", "user", "adapter", "agent"] = "channel"
    runtime: Runtime = Runtime()
    task: Task = Task()
    builtin_tools: dict[str, bool | BuiltinTool] = {}
    """Built-in tools switched off (`name: false`), or asked about (`name: {confirm: true}`)."""
    policy: Policy = Policy()
    approval: Approval = Approval()
    jobs: JobsSetting = Jobs()
    worker: Worker = Worker()
    runner: Runner = Runner()
    lease: Lease = Lease()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    attachments: Attachments = Attachments()
    messages: Messages = Messages()
    drain: Duration = 30.0
    """How long a worker that is told to stop lets its turns reach a step border."""
    state_dir: Path = Path("./.heyfleet")
    watch: bool = True
    """Whether changed agent files and texts are taken up at the next turn."""
    log: Log = Log()
    tracing: Tracing = Tracing()
    sentry_dsn: SecretStr | None = None

    def permissions_of(self, adapter: str) -> Permissions:
        """Who may approve there; nobody may where the adapter was taken out of the config."""
        found = [other.permissions for other in self.adapters if other.name == adapter]
        return found[0] if found else Permissions(approvers=People())

    @field_validator("adapters")
    @classmethod
    def one_name_each(cls, adapters: list[Any]) -> list[Any]:
        names = [adapter.name for adapter in adapters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two adapters are named {', '.join(twice)}: a name must be unique")
        tokens = [adapter.bot_token.get_secret_value() for adapter in adapters if hasattr(adapter, "bot_token")]
        if len(set(tokens)) < len(tokens):
            raise ValueError("two adapters have one bot_token: they would take each other's messages; use one of them")
        return adapters

    @model_validator(mode="after")
    def agents_exist(self) -> Settings:
        for adapter in self.adapters:
            if adapter.agent not in self.agents:
                known = ", ".join(sorted(self.agents))
                raise ValueError(f"adapter {adapter.name}: no agent is named {adapter.agent} (there are: {known})")
        return self
