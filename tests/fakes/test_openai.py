"""The fake must refuse what the real API refuses, or the tests that stand on it prove nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.fakes.openai import ROOT, FakeOpenAI, spawn, start
from tests.fakes.openai.script import Script, script_of

CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
USER = {"role": "user", "content": "hi"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "out"}
TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with start(models=("m",)) as server:
        yield server


def post(fake: FakeOpenAI, body: Any, key: str = "k") -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = Request(f"{fake.base_url}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **fields}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ([], 400, "could not parse"),
        (chat(), 400, "messages"),
        (chat(USER, model="other"), 404, "does not exist"),
        (chat(USER, colour="red"), 400, "Unrecognized request argument supplied: colour"),
        (chat(USER, temperature="hot"), 400, "Invalid type for 'temperature'"),
        (chat(USER, temperature=3), 400, "Invalid 'temperature'"),
        (chat(USER, max_tokens=0), 400, "Invalid 'max_tokens'"),
        (chat(USER, max_tokens=True), 400, "Invalid type for 'max_tokens'"),
        (chat(USER, stream_options={}), 400, "'stream_options'"),
        (chat(USER, tools=[]), 400, "Invalid 'tools'"),
        (chat(USER, tools=[TOOL, TOOL]), 400, "there twice"),
        (chat(USER, tools=[{"type": "function", "function": {"name": "a b"}}]), 400, "does not match pattern"),
        (chat(USER, tool_choice="auto"), 400, "'tool_choice' is only allowed when 'tools'"),
        (chat({"role": "king", "content": "hi"}), 400, "messages[0].role"),
        (chat({"role": "user", "content": None}), 400, "messages[0].content"),
        (chat({"role": "assistant", "content": None}), 400, "messages[0].content"),
        (chat(USER, RESULT), 400, "must be a response to a preceding message with 'tool_calls'"),
        (chat(USER, CALLED), 400, "must be followed by tool messages"),
        (chat(USER, CALLED, USER), 400, "must be followed by tool messages"),
        (chat(USER, CALLED, RESULT, RESULT), 400, "Duplicate value for 'tool_call_id'"),
        (chat(USER, CALLED, {**RESULT, "tool_call_id": "c2"}), 400, "must be a response to a preceding message"),
        (chat(USER, {**CALLED, "tool_calls": [CALL, CALL]}, RESULT), 400, "Duplicate value for 'tool_call_id'"),
        (chat(USER, {**CALLED, "tool_calls": [{**CALL, "id": "c" * 41}]}, RESULT), 400, "1 to 40 characters"),
        (
            chat(USER, {**CALLED, "tool_calls": [{**CALL, "function": {"name": "bash", "arguments": "{"}}]}, RESULT),
            400,
            "arguments': not JSON",
        ),
        (chat({"role": "user", "content": "[[colour=red]]"}), 400, "no directive is named colour"),
        (chat(USER, CALLED, RESULT), 200, "hi"),
    ],
)
def test_refuses_what_the_real_api_refuses(fake: FakeOpenAI, body: Any, status: int, said: str) -> None:
    found = post(fake, body)
    assert found[0] == status
    assert said in found[1]


def test_key() -> None:
    with start(api_key="right-key") as fake:
        assert post(fake, chat(USER), key="")[0] == 401
        assert post(fake, chat(USER), key="wrong-key")[0] == 401
        assert post(fake, chat(USER), key="right-key")[0] == 200


def test_directives_are_read_over_the_defaults() -> None:
    text = 'do [[tools=2 command="[[ -f x ]] && echo \\"y\\"" drop]] then [[reply="" hang=0.5]]'
    assert script_of(text, Script(parallel=3)) == Script(
        parallel=3, tools=2, command='[[ -f x ]] && echo "y"', drop=True, reply="", hang=0.5
    )
    assert script_of("if [[ -f x ]", Script(tokens=4)) == Script(tokens=4)


def test_rounds_of_tools_then_the_reply(fake: FakeOpenAI) -> None:
    asked = {"role": "user", "content": 'go [[tools=2 parallel=2 command="ls"]]'}
    messages: list[Any] = [asked]
    for _ in range(2):
        message = json.loads(post(fake, chat(*messages, tools=[TOOL]))[1])["choices"][0]["message"]
        assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"command": "ls"}'] * 2
        messages += [message, *({**RESULT, "tool_call_id": call["id"]} for call in message["tool_calls"])]
    message = json.loads(post(fake, chat(*messages, tools=[TOOL]))[1])["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "go"}


def test_times_counts_each_text_of_its_own(fake: FakeOpenAI) -> None:
    body = chat({"role": "user", "content": "one [[status=503 times=2]]"})
    assert [post(fake, body)[0] for _ in range(3)] == [503, 503, 200]
    assert post(fake, chat({"role": "user", "content": "two [[status=503 times=2]]"}))[0] == 503
    assert fake.stats()["by_text"]["one [[status=503 times=2]]"] == 3


def test_stream(fake: FakeOpenAI) -> None:
    said = {"role": "user", "content": '[[reply="one two"]]'}
    _, text = post(fake, chat(said, stream=True, stream_options={"include_usage": True}))
    *events, done = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    chunks = [json.loads(event) for event in events]
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == "one two"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_sees_who_hangs_up(fake: FakeOpenAI) -> None:
    before = fake.stats()["aborted"]
    body = json.dumps(chat({"role": "user", "content": "wait [[hang=30]]"})).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
    host, port = fake.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(head.encode() + body)
        while fake.stats()["waiting"] != 1:
            pass
    while fake.stats()["waiting"]:
        pass
    assert fake.stats()["aborted"] == before + 1


def test_as_a_program_with_defaults() -> None:
    with spawn("--reply", "as told", "--models", "a,b") as fake:
        assert json.loads(post(fake, chat(USER, model="a"))[1])["choices"][0]["message"]["content"] == "as told"
        with urlopen(f"{fake.base_url}/models", timeout=10) as answer:
            assert [model["id"] for model in json.load(answer)["data"]] == ["a", "b"]


def test_a_spawned_one_ends_with_whoever_started_it() -> None:
    program = """
import os
from tests.fakes.openai import spawn
print(spawn().origin, flush=True)
os._exit(0)  # as if killed: nothing is closed in good order
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    host, port = done.stdout.strip().removeprefix("http://").split(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except ConnectionRefusedError:
            break
        assert time.monotonic() < deadline, "it still listens"
