"""Doubles of the edges, behind `app.ports`: a scripted model, a sandbox of lines, an adapter that notes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from app.errors import Cancelled
from app.policy.verdict import ALLOW
from app.ports import Cancel, Drafts, Executed, InDoubt, Prompt, ToolResult, ToolSpec, UserText
from app.results import Absent, Answer, CallRequest, Place, SendResult, Sent, Settled, Usage, Verdict
from app.traffic import Limit, Outbound

Step = str | Sequence[CallRequest] | Exception | Callable[[Prompt, Cancel], Any]


def call(tool: str, **args: Any) -> CallRequest:
    return CallRequest(f"{tool}-{uuid4().hex[:8]}", tool, args)


def bash(command: str = "echo") -> CallRequest:
    return call("bash", command=command)


class ScriptedModel:
    """Answers with its script, step by step, and then by its rule. See `app.ports.Model`."""

    name = "scripted"
    sees = True
    says: Sequence[str] = ()
    """What is said of each answer before it is whole."""
    on_say: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, *script: Step, rule: Step | None = None, context_window: int = 100_000) -> None:
        self.script = list(script)
        self.rule = rule or (lambda prompt, _: echo(prompt))
        self.context_window = context_window
        self.prompts: list[Prompt] = []
        self.problems: list[str] = []
        """What a provider would have refused. Checked at the test's end."""
        self._lock = threading.Lock()

    def ask(self, prompt: Prompt, *, cancel: Cancel, on_text: Callable[[str], None] | None = None) -> Answer:
        with self._lock:
            self.prompts.append(prompt)
            self.problems += problems_of(prompt)
        for draft in self.says if on_text else ():
            on_text(draft)
            self.on_say()
        with self._lock:
            step: Any = self.script.pop(0) if self.script else self.rule
        while callable(step):
            step = step(prompt, cancel)
        if isinstance(step, Exception):
            raise step
        text, calls = (step, []) if isinstance(step, str) else ("", list(step))
        said = [part(new) for new in prompt.new]
        parts = [
            {"part_kind": "tool-call", "tool_name": c.tool, "args": dict(c.args), "tool_call_id": c.tool_call_id}
            for c in calls
        ]
        response = {"parts": [{"part_kind": "text", "content": text}, *parts]}
        return Answer({"parts": said}, response, text, calls, Usage(10, 5, 0.25), self.name)

    def summary(self, text: str) -> Mapping[str, Any]:
        return {"parts": [{"part_kind": "summary", "content": text}]}


def problems_of(prompt: Prompt) -> list[str]:
    """The rule of every provider: each tool call is answered by the very next message, and nothing else is."""
    last = prompt.transcript[-1]["parts"] if prompt.transcript else []
    asked = [part["tool_call_id"] for part in last if part["part_kind"] == "tool-call"]
    answered = [new.tool_call_id for new in prompt.new if isinstance(new, ToolResult)]
    return [] if asked == answered else [f"{asked} were asked, {answered} are answered"]


def echo(prompt: Prompt) -> str:
    return "re: " + "; ".join(new.text if isinstance(new, UserText) else new.content for new in prompt.new)


def part(new: Any) -> dict[str, str]:
    if isinstance(new, UserText):
        return {"part_kind": "user-prompt", "content": new.text}
    return {"part_kind": "tool-return", "content": new.content}


class WaitingModel(ScriptedModel):
    """Says that it was asked, and answers once it is let, unless the work is cancelled first."""

    def __init__(self, *script: Step, rule: Step | None = None) -> None:
        super().__init__(*script, rule=rule)
        self.asked = threading.Event()
        self.let = threading.Event()
        self.waiting = 0
        """How many were asked and not answered yet."""

    def ask(self, prompt: Prompt, *, cancel: Cancel, on_text: Callable[[str], None] | None = None) -> Answer:
        with self._lock:
            self.waiting += 1
        self.asked.set()
        while not self.let.wait(0.01):
            if cancel.is_set():
                raise Cancelled("the model request was cancelled")
        return super().ask(prompt, cancel=cancel, on_text=on_text)


class TrustedTool:
    """A tool that runs in the worker and counts its runs. See `app.ports.WorkerTool`."""

    place = "worker"

    def __init__(
        self,
        name: str,
        run: Callable[[Any, Mapping[str, Any]], str] = lambda *_: "ok",
        *,
        idempotent: bool = False,
        verdict: Verdict | Callable[[Mapping[str, Any]], Verdict] = ALLOW,
    ) -> None:
        self.verdict = verdict
        self.spec = ToolSpec(name, "", {"type": "object"})
        self.idempotent = idempotent
        self.runs: list[str] = []
        self._run = run

    def judge(self, args: Mapping[str, Any]) -> Verdict:
        return self.verdict(args) if callable(self.verdict) else self.verdict

    def run(self, ctx: Any, args: Mapping[str, Any]) -> str:
        self.runs.append(ctx.idempotency_key)
        return self._run(ctx, args)


class NoteSandbox:
    """Its state is the list of the commands it ran, and each command returns that list."""

    def __init__(self, runtime: NoteRuntime, key: str, snapshot: bytes | None) -> None:
        self.runtime = runtime
        self.key = key
        self.lines: list[str] = json.loads(snapshot) if snapshot else []
        self.stored: dict[str, bytes] = {}
        self.closed = False

    def exec(self, command: str, *, timeout: float, cancel: Cancel) -> Executed:
        self.lines.append(command)
        done = self.runtime.on_exec(command, cancel)
        return done if isinstance(done, Executed) else Executed(" ".join(self.lines), 0)

    def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> str:
        return "\n".join(self.lines)

    def store(self, path: str, content: bytes) -> None:
        self.stored[path] = content

    def export(self, path: str, *, max_bytes: int) -> bytes:
        return " ".join(self.lines).encode() or b"nothing was run"

    def snapshot(self) -> bytes | None:
        return json.dumps(self.lines).encode() if self.runtime.portable else None

    def close(self) -> None:
        self.closed = True


class NoteRuntime:
    """See `app.ports.Runtime`."""

    def __init__(
        self, on_exec: Callable[[str, Cancel], Any] = lambda *_: None, *, portable: bool = True, name: str = "virtual"
    ) -> None:
        self.name = name
        self.portable = portable
        self.on_exec = on_exec
        self.opened: list[NoteSandbox] = []

    def available(self) -> str | None:
        return None

    def open(self, key: str, snapshot: bytes | None) -> Any:
        self.opened.append(NoteSandbox(self, key, snapshot))
        return self.opened[-1]


class NoteAdapter:
    """Notes what it sends; `plan` says how the next sends end. The address is what the reply calls `to`."""

    def __init__(self, *plan: SendResult | Exception | Callable[[Outbound], Any], in_doubt: InDoubt = "resend") -> None:
        self.name = "note"
        self.in_doubt: InDoubt = in_doubt
        self.drafts: Drafts = "none"
        self.answers_each = True
        self.settled: list[Settled] = []
        """What `settle` finds out, one after the other; then that nothing has arrived."""
        self.asked: list[Outbound] = []
        self.limited: list[Limit] = []
        self.has: dict[str, Any] = {}
        """The files that it can fetch."""
        self.fetches: list[Mapping[str, Any]] = []
        self.plan = list(plan)
        self.sends: list[Outbound] = []

    def address(self, reply: Mapping[str, Any], thread_key: str) -> str | None:
        address: str | None = reply.get("to")
        return address

    def progress(self, reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"message": reply["message"]} if "message" in reply else None

    def place(self, kind: str, name: str) -> Place | None:
        return None if kind == "user" else Place(name, name, reply={"to": name})

    def limits(self, delivery: Outbound) -> Sequence[Limit]:
        return self.limited

    def fetch(self, source: Mapping[str, Any], most: int) -> bytes:
        """What `source` has; an exception is raised."""
        self.fetches.append(source)
        found: Any = (
            self.has[source["id"]].pop(0) if isinstance(self.has[source["id"]], list) else self.has[source["id"]]
        )
        if isinstance(found, Exception):
            raise found
        content: bytes = found
        return content

    def settle(self, delivery: Outbound) -> Settled:
        self.asked.append(delivery)
        return self.settled.pop(0) if self.settled else Absent()

    def send(self, delivery: Outbound) -> SendResult:
        self.sends.append(delivery)
        result: Any = self.plan.pop(0) if self.plan else Sent()
        if callable(result):
            result = result(delivery)
        if isinstance(result, Exception):
            raise result
        ended: SendResult = result
        return ended
