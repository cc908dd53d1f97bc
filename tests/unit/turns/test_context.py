"""From facts to the prompt."""

from __future__ import annotations

from typing import Any

from app.ports import ToolResult, UserText
from app.turns.context import NO_RESULT, context_blocks, estimated_tokens, news, user_text
from app.turns.next import Ask
from tests.unit.turns.facts_made import a_call, a_turn, some_facts


def a_file(**columns: Any) -> dict[str, Any]:
    return {"name": "a.csv", "media_type": "text/csv", "size": 3, "text": None, **columns}


def test_the_first_step_tells_the_message_and_its_steers() -> None:
    steer = a_turn(seq=2, messages=[{"text": "and this", "data": {}}])
    assert news(Ask(a_turn(), [], [steer]), summarised=False) == [UserText("hello"), UserText("and this")]


def test_a_later_step_tells_results_and_steers_but_not_the_message_again() -> None:
    steer = a_turn(seq=2, messages=[{"text": "wait", "data": {}}])
    calls = [a_call(tool_call_id="1", result="one"), a_call(tool_call_id="2", result=None, tool="read")]
    assert news(Ask(a_turn(step_count=1), calls, [steer]), summarised=False) == [
        ToolResult("1", "bash", "one"),
        ToolResult("2", "read", NO_RESULT),
        UserText("wait"),
    ]


def test_calls_that_an_earlier_turn_left_are_answered_before_the_message() -> None:
    call = a_call(tool_call_id="1", result="one")
    assert news(Ask(a_turn(), [call], []), summarised=False) == [ToolResult("1", "bash", "one"), UserText("hello")]


def test_results_of_summarised_calls_are_told_as_text() -> None:
    """A result without its call in the transcript is refused by providers."""
    found = news(Ask(a_turn(step_count=1), [a_call(result="one")], []), summarised=True)
    assert found == [UserText("Result of bash:\none")]


def test_a_message_brings_its_data_and_files() -> None:
    turn = a_turn(
        messages=[{"text": "look", "data": {"order": 7}}],
        files=[a_file(text="x,y"), a_file(name="b.png", media_type="image/png", size=9)],
    )
    assert user_text(turn) == (
        'look\n\nData: {"order": 7}\n\n'
        "Attached file a.csv (text/csv, 3 bytes):\nx,y\n\n"
        "Attached file b.png (image/png, 9 bytes), in the sandbox as inbox/b.png."
    )


def test_an_empty_text_file_is_shown_as_empty() -> None:
    assert user_text(a_turn(messages=[], files=[a_file(text="", size=0)])).endswith("0 bytes):\n")


def test_the_context_says_where_and_who() -> None:
    turn = a_turn(actor="grace")
    assert context_blocks(some_facts(turn), turn) == {"channel": "local the-channel", "sender": "grace"}


def test_tokens_are_estimated_by_length() -> None:
    assert estimated_tokens([]) == 0
    assert estimated_tokens([{"t": "x" * 400}, {"t": "y" * 400}]) in range(200, 220)
