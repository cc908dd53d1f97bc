from __future__ import annotations

import threading

from app.llm.demo import DemoModel
from app.ports import Prompt, ToolResult, ToolSpec, UserText
from app.results import Answer

BASH = ToolSpec("bash", "Run a command.", {"type": "object"})
EARLIER = {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "before"}]}


def ask(*new: UserText | ToolResult, first: bool = False, tools: tuple[ToolSpec, ...] = (BASH,)) -> Answer:
    prompt = Prompt("", () if first else (EARLIER,), new, tools)
    return DemoModel("demo/echo", 1000).ask(prompt, cancel=threading.Event())


def test_says_back_what_it_hears() -> None:
    assert ask(UserText("hello")).text == "You said: hello"


def test_hints_at_its_one_trick_at_first() -> None:
    text = ask(UserText("hello"), first=True).text
    assert text.startswith("You said: hello")
    assert text.endswith("run: ls")


def test_runs_each_line_that_says_so() -> None:
    answer = ask(UserText("please\n run: ls -l \nrun:\nand\nrun: echo 'run: x'"), first=True)
    assert [call.args["command"] for call in answer.calls] == ["ls -l", "echo 'run: x'"]
    assert [call.tool for call in answer.calls] == ["bash", "bash"]
    assert answer.text == ""


def test_says_each_line_that_it_is_told_to_say_and_nothing_else() -> None:
    assert ask(UserText("say: [SILENT]"), first=True).text == "[SILENT]"
    assert ask(UserText("please\n say: one \nsay:\nsay: two")).text == "one\ntwo"
    assert ask(ToolResult("a", "bash", "x"), UserText("say: one")).text == "It printed:\nx\none"


def test_answers_with_the_results_and_hears_what_came_meanwhile() -> None:
    results = [ToolResult("a", "bash", "one"), ToolResult("b", "bash", "two")]
    assert ask(*results).text == "It printed:\none\n\nIt printed:\ntwo"
    assert ask(*results, UserText("stop")).text.endswith("You said: stop")
    assert [call.args["command"] for call in ask(*results, UserText("run: ls")).calls] == ["ls"]


def test_has_no_calls_without_a_bash() -> None:
    answer = ask(UserText("run: ls"), tools=())
    assert not answer.calls
    assert answer.text == "You said: run: ls"


def test_a_summary_is_asked_without_tools_and_has_no_hint() -> None:
    assert ask(UserText("all that was said"), first=True, tools=()).text == "You said: all that was said"


def test_is_the_same_each_time_and_ids_differ_from_step_to_step() -> None:
    assert ask(UserText("run: ls")) == ask(UserText("run: ls"))
    assert ask(UserText("run: ls")).calls[0].tool_call_id != ask(UserText("run: ls"), first=True).calls[0].tool_call_id


def test_a_long_text_is_cut() -> None:
    assert len(ask(UserText("x" * 100_000)).text) < 5000
