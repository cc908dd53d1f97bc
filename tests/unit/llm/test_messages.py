from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.usage import RequestUsage

from app.errors import Permanent
from app.llm.demo import DemoModel
from app.llm.messages import Toolbox, answer_of, request_of, stored, transcript_of
from app.ports import Prompt, ToolResult, ToolSpec, UserText
from tests.unit.llm.test_loop import NEVER

BASH = ToolSpec("bash", "Run a command.", {"type": "object"})
REQUEST = request_of([UserText("hi")])


def response(*parts: Any, **more: Any) -> ModelResponse:
    return ModelResponse(parts=list(parts), model_name="gpt-4o", provider_name="openai", **more)


def test_new_parts_become_one_message_in_order() -> None:
    request = request_of([ToolResult("c1", "bash", "out"), UserText("stop"), UserText("now")])
    row = stored(request)
    assert [part["part_kind"] for part in row["parts"]] == ["tool-return", "user-prompt", "user-prompt"]
    assert [part["content"] for part in row["parts"]] == ["out", "stop", "now"]
    assert "instructions" not in row


def test_rows_are_small_and_read_back_the_same() -> None:
    usage = RequestUsage(input_tokens=7, output_tokens=3, details={"reasoning_tokens": 2})
    thought = ThinkingPart("hm", id="r1", signature="signed", provider_name="openai")
    messages: list[ModelMessage] = [
        request_of([UserText("hi"), ToolResult("c0", "bash", "")]),
        response(thought, TextPart("well"), ToolCallPart("bash", '{"command": "ls"}', "c1"), usage=usage),
        response(),
    ]
    rows = json.loads(json.dumps([stored(message) for message in messages]))
    assert ModelMessagesTypeAdapter.validate_python(rows) == messages
    assert "null" not in json.dumps(rows)
    assert rows[1]["usage"] == {"input_tokens": 7, "output_tokens": 3, "details": {"reasoning_tokens": 2}}


def test_a_row_that_cannot_be_read_is_no_reason_to_try_again() -> None:
    with pytest.raises(Permanent, match="stored conversation"):
        transcript_of(Prompt("", [{"kind": "nonsense"}], (), ()))


def test_the_demo_models_rows_are_the_librarys() -> None:
    demo = DemoModel("demo/echo", 1000)
    asked = demo.ask(Prompt("", (), [UserText("run: ls")], [BASH]), cancel=NEVER)
    told = demo.ask(Prompt("", (), [ToolResult("c1", "bash", "out"), UserText("and?")], [BASH]), cancel=NEVER)
    rows = [demo.summary("before"), asked.request, asked.response, told.request, told.response]
    read = transcript_of(Prompt("", rows, (), ()))
    assert [message.kind for message in read] == ["request", "request", "response", "request", "response"]
    for message, row in zip(read, rows, strict=True):
        again = stored(message)
        for part, kept in zip(row["parts"], again["parts"], strict=True):
            # Nothing was lost or taken for something else; the library only adds times.
            assert part.items() <= kept.items()
        assert row.get("model_name") == again.get("model_name")
    assert isinstance(read[2], ModelResponse)
    assert read[2].usage.input_tokens == asked.usage.input_tokens


def test_tools_are_converted_once_for_each_set() -> None:
    toolbox = Toolbox(most=2)
    first = toolbox.parameters(Prompt("one", (), (), [BASH]))
    assert toolbox.parameters(Prompt("two", (), (), [BASH])).function_tools is first.function_tools
    assert [part.content for part in first.instruction_parts or ()] == ["one"]
    other = replace(BASH, description="Another.")
    assert toolbox.parameters(Prompt("", (), (), [other])).function_tools[0].description == "Another."
    assert toolbox.parameters(Prompt("", (), (), [])).function_tools == []
    assert toolbox.parameters(Prompt("", (), (), [BASH])).function_tools == first.function_tools


@pytest.mark.parametrize(
    ("args", "usable", "problem", "kept"),
    [
        ('{"a": 1}', {"a": 1}, "", '{"a": 1}'),
        ({"a": 1}, {"a": 1}, "", {"a": 1}),
        (None, {}, "", None),
        (" ", {}, "", " "),
        ('{"a": ', {}, "not valid JSON", {"INVALID_JSON": '{"a": '}),
        ('["a"]', {}, "not a JSON object", {"INVALID_JSON": '["a"]'}),
    ],
)
def test_arguments(args: Any, usable: Any, problem: str, kept: Any) -> None:
    answer = answer_of(REQUEST, response(ToolCallPart("bash", args, "c1")), "fast")
    [call] = answer.calls
    assert call.args == usable
    assert problem in call.problem
    assert bool(problem) == bool(call.problem)
    assert answer.response["parts"][0].get("args") == kept


def test_each_call_has_an_id_of_its_own_that_is_stored_too() -> None:
    calls = [ToolCallPart("bash", "{}", tool_call_id=name) for name in ("same", "same", "", "x" * 40, "x" * 40, "same")]
    answer = answer_of(REQUEST, response(*calls), "fast")
    ids = [call.tool_call_id for call in answer.calls]
    assert ids == [part["tool_call_id"] for part in answer.response["parts"]]
    assert ids == ["same", "same_2", "call_2", "x" * 40, "x" * 32 + "_2", "same_3"]


def test_a_refusal_is_told() -> None:
    answer = answer_of(REQUEST, response(provider_details={"refusal": "I can't help with that."}), "fast")
    assert answer.text == "I can't help with that."


def test_usage_and_cost() -> None:
    known = answer_of(
        REQUEST, response(TextPart("hi"), usage=RequestUsage(input_tokens=1000, output_tokens=10)), "fast"
    )
    assert (known.usage.input_tokens, known.usage.output_tokens) == (1000, 10)
    assert known.usage.cost == pytest.approx(0.0026)
    silent = answer_of(REQUEST, response(TextPart("hi")), "fast")
    assert (silent.usage.input_tokens, silent.usage.output_tokens, silent.usage.cost) == (None, None, None)
    unknown = ModelResponse(parts=[], usage=RequestUsage(input_tokens=5))
    assert answer_of(REQUEST, unknown, "fast").usage.cost is None
    assert answer_of(REQUEST, unknown, "fast").model == "fast"
