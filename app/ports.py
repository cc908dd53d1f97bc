"""The edges of heyfleet on one screen: what an adapter, a model, a runtime and a tool must do.

Implementations never see the database. Each method says what it may raise and whether it may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from app.results import Answer, Place, SendResult, Settled, Verdict
from app.traffic import Limit, Outbound


class Cancel(Protocol):
    """Asked often by whoever works: is this still wanted?"""

    def is_set(self) -> bool:
        """True once the work was cancelled or its lease was lost."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the cancellation; True when it came."""
        ...


Drafts = Literal["none", "shown", "edited"]
"""What is done with a reply while the model still writes it: nothing; it is shown to who looks on; or a message of the
provider's is changed again and again."""

InDoubt = Literal["resend", "look", "flag"]
"""What is done about a send that may have arrived: send it again, since the other side can tell; ask `settle`; or leave
it to people."""


class Adapter(Protocol):
    """One configured connection to a chat provider."""

    name: str
    in_doubt: InDoubt
    drafts: Drafts
    answers_each: bool
    """Whether each of several messages that one turn took in gets the reply; else it is said once."""

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:
        """The destination that a reply goes to, or None where nothing is to be sent. Pure."""
        ...

    def progress(self, reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The body of the deliveries `progress` and `progress_end`, by which a message shows that the agent is at work
        on it, and no longer; None: it shows nothing. Pure."""
        ...

    def place(self, kind: str, name: str) -> Place | None:
        """Where a job runs whose target is this `channel` or `user`; None: it can't be one.

        May ask the provider. Raises Transient and Permanent.
        """
        ...

    def send(self, delivery: Outbound) -> SendResult:
        """Carry out one delivery, or the next part of it.

        Never raises for what the other side did: the result says what became of it. It may be called again for one part
        only after it returned retry, or nothing has arrived as far as `settle` can tell.
        """
        ...

    def limits(self, delivery: Outbound) -> Sequence[Limit]:
        """What sending the next part uses up, of limits that the fleet shares. Pure."""
        ...

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:
        """A file that came with a message, by what the message said of it; of `most` bytes at most.

        May be repeated. Raises Transient and Permanent, with a sentence that the model is told.
        """
        ...

    def settle(self, delivery: Outbound) -> Settled:
        """Find out whether the next part has arrived: the answer to an earlier try is not known. Sends nothing.

        Only asked where `in_doubt` is "look".
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments, an object."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that came with a message."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class UserText:
    """What a person said, and the pictures that came with it."""

    text: str
    images: Sequence[Image] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of one tool call of the step before."""

    tool_call_id: str
    tool: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that one model request is made of."""

    system: str
    transcript: Sequence[Mapping[str, Any]]
    """Earlier messages, oldest first, as `Answer.request` and `Answer.response` gave them."""
    new: Sequence[UserText | ToolResult]
    tools: Sequence[ToolSpec]


class Model(Protocol):
    """A language model."""

    name: str
    context_window: int
    """How many tokens a request may hold."""
    sees: bool
    """Whether it can be shown pictures."""

    def ask(self, prompt: Prompt, *, cancel: Cancel, on_text: Callable[[str], None] | None = None) -> Answer:
        """Make one request. Holds no lock and no connection; may be repeated (each time is paid for).

        `on_text` gets the whole text so far, whenever more came. Raises Transient, Permanent (ContextOverflow when
        the prompt is too long) and Cancelled.
        """
        ...

    def summary(self, text: str) -> Mapping[str, Any]:
        """A transcript message that stands for a summarised beginning, to be put first in `Prompt.transcript`."""
        ...


@dataclass(frozen=True, slots=True)
class Executed:
    """How a command ended. `output` is stdout and stderr in one, already cut to the sandbox's limits."""

    output: str
    exit_code: int
    ended: Literal["exited", "timeout", "cancelled"] = "exited"


class Sandbox(Protocol):
    """One open sandbox. Paths are relative to its workspace.

    An absolute path outside, a `..` that leaves and a symlink that leads out are refused with Refused, as is what the
    runtime can't do; nothing falls back to the host.
    """

    def exec(self, command: str, *, timeout: float, cancel: Cancel) -> Executed:
        """Run a bash command. At its end (of whatever kind) no process of it is alive. Not repeatable."""
        ...

    def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> str:
        """Lines `offset` (from 0) up to `offset + limit` of a text file."""
        ...

    def write(self, path: str, content: str) -> None:
        """Create or replace a file, with its parent folders."""
        ...

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace the one place where `old` stands; Refused where it stands nowhere or more than once."""
        ...

    def list(self, path: str = ".") -> Sequence[str]:
        """The names in a folder, sorted; folders end in `/`."""
        ...

    def find(self, pattern: str, path: str = ".") -> Sequence[str]:
        """Paths below `path` whose name matches the glob `pattern`, sorted."""
        ...

    def grep(self, pattern: str, path: str = ".") -> Sequence[str]:
        """`path:line:text` of each line that matches the regular expression, sorted by path and line."""
        ...

    def export(self, path: str, *, max_bytes: int) -> bytes:
        """A file's bytes; Refused where it is larger."""
        ...

    def store(self, path: str, content: bytes) -> None:
        """Put a file of any bytes into the workspace."""
        ...

    def snapshot(self) -> bytes | None:
        """Everything another runner needs to go on with this sandbox; None where the workspace itself is that."""
        ...

    def close(self) -> None:
        """Let go of everything it holds in this process."""
        ...


class Runtime(Protocol):
    """A way to run commands apart from the host."""

    name: str
    portable: bool
    """True: a sandbox lives in its snapshot. False: it lives in the runner's workspace folder."""

    def available(self) -> str | None:
        """None where this machine can run it, else the reason why not and the cure."""
        ...

    def open(self, key: str, snapshot: bytes | None) -> Sandbox:
        """Open the sandbox of one scope; `key` is safe as a folder name. May raise Transient and Permanent."""
        ...


class SandboxReach(Protocol):
    """The sandbox of a turn's scope, as a trusted tool reaches it.

    Each method waits for its turn in the sandbox and returns what the model would be told, cut at the same limits. It
    raises Permanent with what the sandbox said where it refused or nobody knows how it ended, and Cancelled once the
    turn is cancelled.
    """

    def bash(self, command: str, *, timeout: float | None = None) -> str:
        """What the command printed, with `[exit code N]` behind it where that is not 0. `timeout` in seconds."""
        ...

    def read(self, path: str) -> str:
        """A text file of the workspace."""
        ...

    def write(self, path: str, content: str) -> str:
        """Make or replace a text file of the workspace."""
        ...


class ToolContext(Protocol):
    """What a trusted tool gets beside its arguments; `app.authoring.Ctx` is what authors write."""

    @property
    def actor(self) -> str: ...
    @property
    def trace(self) -> str: ...
    @property
    def thread(self) -> UUID: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def cancel(self) -> Cancel: ...
    @property
    def sandbox(self) -> SandboxReach: ...


class Tool(Protocol):
    """One tool that the model can call."""

    @property
    def spec(self) -> ToolSpec: ...
    @property
    def idempotent(self) -> bool:
        """True: may be run again when its first run's outcome is unknown."""
        ...

    @property
    def place(self) -> Literal["runner", "worker"]:
        """Where it runs: in the scope's sandbox, or trusted in the worker."""
        ...

    def judge(self, args: Mapping[str, Any]) -> Verdict:
        """May a call with these arguments be run? Whatever it raises means no."""
        ...


class WorkerTool(Tool, Protocol):
    """A trusted tool, run in the worker."""

    def run(self, ctx: Any, args: Mapping[str, Any]) -> str:
        """Do it and return what the model is told; `ctx` is a ToolContext. Raises Refused for arguments it can't use;
        whatever else it raises is told to the model by its type and message."""
        ...
