"""What every model promises (`app.ports.Model`), and what the OpenAI-compatible one makes of a misbehaving server."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
import structlog

from app.config.settings import ModelAlias, Settings
from app.errors import Cancelled, ContextOverflow, HeyfleetError, Permanent, Transient
from app.llm.registry import Models
from app.ports import Model, Prompt, ToolResult, ToolSpec, UserText
from app.results import Answer
from tests.fakes.openai import FakeOpenAI, start

KEY = "a-key-of-the-server"
PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
BASH = ToolSpec("bash", "Run a command.", PARAMETERS)
SYSTEM = "You are terse."

# Both models are told in one text: the demo by its own line, the fake server by a directive.
RUN = 'run: echo one\n[[tools=1 command="echo one"]]'
RUN_TWICE = 'run: echo one\nrun: echo one\n[[tools=1 parallel=2 command="echo one"]]'


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with start(api_key=KEY, models=("m",)) as server:
        yield server


@pytest.fixture(scope="module")
def models(fake: FakeOpenAI) -> Models:
    def alias(url: str = fake.base_url, *, model: str = "openai/m", **more: Any) -> ModelAlias:
        return ModelAlias.model_validate({"model": model, "base_url": url, "api_key": KEY, **more})

    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    aliases = {
        "compatible": alias(),
        "settled": alias(max_tokens=7, temperature=0.5),
        "impatient": alias(timeout=0.4),
        "unreachable": alias(nobody),
        "wrong-key": alias(api_key="another-key-of-mine"),
        "unknown": alias(model="openai/no-such-model"),
    }
    return Models(Settings(models=aliases))


@pytest.fixture(scope="module")
def compatible(models: Models) -> Model:
    return models.get("compatible")


@pytest.fixture(params=["demo/echo", "compatible"])
def model(request: pytest.FixtureRequest, models: Models) -> Model:
    return models.get(request.param)


def ask(
    model: Model,
    *new: str | ToolResult,
    after: Sequence[Any] = (),
    tools: Sequence[ToolSpec] = (BASH,),
    cancel: threading.Event | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    parts = [UserText(part) if isinstance(part, str) else part for part in new]
    prompt = Prompt(SYSTEM, after, parts, tools)
    return model.ask(prompt, cancel=cancel or threading.Event(), on_text=on_text)


def results_of(answer: Answer) -> list[ToolResult]:
    return [ToolResult(call.tool_call_id, call.tool, f"result {n}") for n, call in enumerate(answer.calls)]


# --- every model


def test_text(model: Model) -> None:
    answer = ask(model, "hello there")
    assert "hello there" in answer.text
    assert not answer.calls
    assert answer.usage.input_tokens
    assert answer.model
    assert json.loads(json.dumps([answer.request, answer.response])) == [answer.request, answer.response]


def test_streamed_text_grows_to_the_answers(model: Model) -> None:
    heard: list[tuple[str, int]] = []
    text = "one two three four five six seven [[per_token_ms=150]]"
    answer = ask(model, text, on_text=lambda so_far: heard.append((so_far, threading.get_ident())))
    texts = [so_far for so_far, _ in heard]
    assert len(texts) >= 2
    assert all(later.startswith(earlier) and later != earlier for earlier, later in pairwise(texts))
    assert texts[-1] == answer.text == ask(model, text).text
    # So a listener that is slow or waits for a lock holds up no other request.
    assert {thread for _, thread in heard} == {threading.get_ident()}


def test_a_fast_answer_is_heard_to_its_end(model: Model) -> None:
    heard: list[str] = []
    assert ask(model, "one two three four five", on_text=heard.append).text == heard[-1]


def test_a_listener_that_fails_costs_no_answer(model: Model) -> None:
    def fails(text: str) -> None:
        raise RuntimeError("the listener's fault")

    with structlog.testing.capture_logs() as logs:
        answer = ask(model, "one two three four [[per_token_ms=60]]", on_text=fails)
    assert "one two three four" in answer.text
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["model_draft_not_shown"]


@pytest.mark.parametrize("on_text", [None, lambda text: None], ids=["whole", "streamed"])
def test_tool_round_trip(model: Model, on_text: Callable[[str], None] | None) -> None:
    asked = ask(model, RUN_TWICE, on_text=on_text)
    assert [(call.tool, call.args, call.problem) for call in asked.calls] == [("bash", {"command": "echo one"}, "")] * 2
    assert len({call.tool_call_id for call in asked.calls}) == 2
    answer = ask(model, *results_of(asked), after=[asked.request, asked.response], on_text=on_text)
    assert answer.text
    assert not answer.calls


@pytest.mark.parametrize("first", ["demo/echo", "compatible"])
def test_a_thread_can_change_its_model(models: Models, model: Model, first: str) -> None:
    asked = ask(models.get(first), RUN)
    then = ask(model, *results_of(asked), "and now?", after=[asked.request, asked.response])
    history = [asked.request, asked.response, then.request, then.response]
    assert "goodbye" in ask(models.get(first), "goodbye", after=history).text


def test_a_summary_can_begin_the_transcript(model: Model) -> None:
    summary = model.summary("they talked about ships")
    assert "they talked about ships" in json.dumps(summary)
    answer = ask(model, "go on", after=[summary])
    assert "go on" in answer.text


def test_the_system_prompt_is_not_stored(model: Model) -> None:
    answer = ask(model, "hello")
    assert SYSTEM not in json.dumps([answer.request, answer.response])


def test_nothing_is_asked_once_cancelled(model: Model) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        ask(model, "hello", cancel=cancel)


# --- the OpenAI-compatible one: what it sends


def test_what_is_sent(models: Models, fake: FakeOpenAI) -> None:
    summary = models.get("settled").summary("before")
    answer = ask(models.get("settled"), "hello", "there", after=[summary])
    assert answer.text == "there"
    sent = fake.stats()["last"]
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "user", "user"]
    assert [message["content"] for message in sent["messages"]][::2] == [SYSTEM, "hello"]
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "bash", "description": "Run a command.", "parameters": PARAMETERS}}
    ]
    assert {name: sent[name] for name in ("model", "max_tokens", "temperature")} == {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0.5,
    }


def test_only_the_configured_key_is_sent(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    aliases = {"keyless": ModelAlias(model="openai/m", base_url=fake.base_url)}
    with pytest.raises(Permanent, match="API key"):
        ask(Models(Settings(models=aliases)).get("keyless"), "hello")


# --- and what it makes of the answers

STREAMS = pytest.mark.parametrize("on_text", [None, lambda text: None], ids=["whole", "streamed"])


@STREAMS
@pytest.mark.parametrize(
    ("name", "directive", "kind"),
    [
        ("compatible", "status=429", Transient),
        ("compatible", "status=429 code=rate_limit_exceeded", Transient),
        ("compatible", "status=429 code=insufficient_quota", Permanent),
        ("compatible", "status=500", Transient),
        ("compatible", "status=503", Transient),
        ("compatible", "status=529", Transient),
        ("compatible", "status=408", Transient),
        ("compatible", "status=409", Transient),
        ("compatible", "status=400", Permanent),
        ("compatible", "status=403", Permanent),
        ("compatible", "status=404", Permanent),
        ("compatible", "status=422", Permanent),
        ("compatible", "status=413", ContextOverflow),
        ("compatible", "context_overflow", ContextOverflow),
        ("compatible", "malformed=json", Transient),
        ("compatible", "malformed=choices", Transient),
        ("compatible", "malformed=nothing", Transient),
        ("compatible", "malformed=cut", Transient),
        ("compatible", "drop", Transient),
        ("impatient", "hang=20", Transient),
        ("unreachable", "", Transient),
        ("wrong-key", "", Permanent),
        ("unknown", "", Permanent),
    ],
)
def test_failures(
    models: Models, name: str, directive: str, kind: type[HeyfleetError], on_text: Callable[[str], None] | None
) -> None:
    with pytest.raises(HeyfleetError) as raised:
        ask(models.get(name), f"hello [[{directive}]]", on_text=on_text)
    assert type(raised.value) is kind
    assert name in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.detail
    assert len(raised.value.detail) <= 2000
    assert "-key-of-" not in raised.value.detail


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("a date in an hour", 3600), ("soon", None)])
def test_retry_after(compatible: Model, value: str, seconds: float | None) -> None:
    if value.startswith("a date"):
        value = f'"{format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}"'
    with pytest.raises(Transient) as raised:
        ask(compatible, f"hello [[status=429 retry_after={value}]]")
    assert raised.value.retry_after == (None if seconds is None else pytest.approx(seconds, abs=60))


@pytest.mark.parametrize("directive", ["malformed=unfinished", "malformed=cut"])
def test_a_stream_that_ends_early_is_no_answer(compatible: Model, directive: str) -> None:
    heard: list[str] = []
    with pytest.raises(Transient):
        ask(compatible, f"one two three four [[{directive}]]", on_text=heard.append)
    assert heard
    assert "four" not in heard[-1]


def test_silence_in_the_middle_of_a_stream(models: Models) -> None:
    with pytest.raises(Transient):
        ask(models.get("impatient"), "one two [[per_token_ms=20000]]", on_text=lambda text: None)


def test_a_slow_answer_is_no_silence(models: Models) -> None:
    text = "one two three four five six [[per_token_ms=150]]"
    assert ask(models.get("impatient"), text, on_text=lambda text: None).text == "one two three four five six"


def test_nothing_is_retried_here(compatible: Model, fake: FakeOpenAI) -> None:
    with pytest.raises(Transient):
        ask(compatible, "only once [[status=500]]")
    assert fake.stats()["by_text"]["only once [[status=500]]"] == 1


@STREAMS
def test_an_empty_answer(compatible: Model, on_text: Callable[[str], None] | None) -> None:
    answer = ask(compatible, '[[reply=""]]', on_text=on_text)
    assert answer.text == ""
    assert not answer.calls
    assert ask(compatible, "go on", after=[answer.request, answer.response]).text == "go on"


@STREAMS
@pytest.mark.parametrize(
    ("directive", "args", "problem"),
    [
        ("malformed=arguments", {}, "not valid JSON"),
        ('args="[1]"', {}, "not a JSON object"),
        ('args=""', {}, ""),
        ("malformed=no_id", {"command": "ls"}, ""),
        ("malformed=same_id", {"command": "ls"}, ""),
    ],
)
def test_faulty_calls(
    compatible: Model, directive: str, args: Any, problem: str, on_text: Callable[[str], None] | None
) -> None:
    asked = ask(compatible, f"go [[tools=1 parallel=2 command=ls {directive}]]", on_text=on_text)
    assert [call.args for call in asked.calls] == [args] * 2
    assert all(problem in call.problem and bool(problem) == bool(call.problem) for call in asked.calls)
    assert len({call.tool_call_id for call in asked.calls}) == 2
    # The server refuses what it could not parse itself, and results that don't fit their calls.
    assert ask(compatible, *results_of(asked), after=[asked.request, asked.response]).text == "go"


@STREAMS
def test_cancelled_within_a_second(compatible: Model, fake: FakeOpenAI, on_text: Callable[[str], None] | None) -> None:
    before = fake.stats()["aborted"]
    took: list[float] = []
    for _ in range(3):
        cancel = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, compatible, "wait [[hang=60]]", cancel=cancel, on_text=on_text)
            until(lambda: fake.stats()["waiting"] == 1)
            cancelled_at = time.monotonic()
            cancel.set()
            with pytest.raises(Cancelled):
                asked.result(timeout=10)
            took.append(time.monotonic() - cancelled_at)
        # The connection is given up too, so that the provider can stop working on it.
        until(lambda: fake.stats()["waiting"] == 0)
    # The best of three: this machine may be busy with something else.
    assert min(took) < 1
    assert fake.stats()["aborted"] == before + 3


def test_300_requests_from_100_threads(compatible: Model, fake: FakeOpenAI) -> None:
    with ThreadPoolExecutor(100) as pool:
        texts = [f"number {n} [[first_token_ms=20]]" for n in range(300)]
        answers = list(pool.map(lambda text: ask(compatible, text).text, texts))
    assert answers == [f"number {n}" for n in range(300)]


def test_connections_are_kept(compatible: Model, fake: FakeOpenAI) -> None:
    before = fake.stats()["connections"]
    for _ in range(10):
        ask(compatible, "hello")
    # One for this look itself, and at most one for the ten requests.
    assert fake.stats()["connections"] - before <= 2


def test_a_fork_has_connections_of_its_own(compatible: Model) -> None:
    assert ask(compatible, "before").text == "before"

    def child() -> None:
        os._exit(0 if ask(compatible, "in the fork").text == "in the fork" else 1)

    forked = multiprocessing.get_context("fork").Process(target=child)
    forked.start()
    forked.join(timeout=20)
    forked.kill()
    assert forked.exitcode == 0
    assert ask(compatible, "after").text == "after"


def test_200_wait_at_once_and_are_cancelled_at_once(compatible: Model, fake: FakeOpenAI) -> None:
    cancel = threading.Event()
    with ThreadPoolExecutor(200) as pool:
        asked = [pool.submit(ask, compatible, f"wait {n} [[hang=60]]", cancel=cancel) for n in range(200)]
        until(lambda: fake.stats()["waiting"] == 200)
        cancel.set()
        for future in asked:
            with pytest.raises(Cancelled):
                future.result(timeout=10)


def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
