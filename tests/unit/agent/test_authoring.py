"""What authors write, what the model sees of it, and how it is called."""

from __future__ import annotations

import asyncio
import functools
import math
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from app.authoring import AuthoredTool, Block, Confirm, Ctx, tool
from app.errors import Permanent, Refused
from app.ports import Tool, WorkerTool
from app.results import Verdict


class Never:
    """A cancellation that does not come."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        return False


class NoSandbox:
    """A sandbox that is not there."""

    def bash(self, command: str, *, timeout: float | None = None) -> str:
        raise NotImplementedError

    def read(self, path: str) -> str:
        raise NotImplementedError

    def write(self, path: str, content: str) -> str:
        raise NotImplementedError


CTX = Ctx("anna", "trace-1", "key-1", Never(), NoSandbox())


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Place:
    name: str
    floor: int = 0


class Person(BaseModel):
    name: str


@tool
def page_on_call(ctx: Ctx, service: str, reason: str = "unknown") -> str:
    """Page the person on call for a service.

    Nothing is paged twice.

    Args:
        service: The service's
            short name: one word.
        reason (str): One sentence for the page.

    Returns:
        Who was paged.

    Raises:
        ValueError: never
    """
    return f"{ctx.actor} paged {service}: {reason} ({ctx.idempotency_key})"


def properties(made: AuthoredTool) -> dict[str, Any]:
    return dict(made.spec.parameters["properties"])


def test_the_model_sees_name_docstring_and_parameters() -> None:
    assert page_on_call.spec.name == "page_on_call"
    assert page_on_call.spec.description == (
        "Page the person on call for a service.\n\nNothing is paged twice.\n\nReturns:\n    Who was paged."
    )
    assert page_on_call.spec.parameters == {
        "type": "object",
        "properties": {
            "service": {"type": "string", "description": "The service's short name: one word."},
            "reason": {"type": "string", "description": "One sentence for the page.", "default": "unknown"},
        },
        "required": ["service"],
        "additionalProperties": False,
    }


def test_it_is_a_tool_and_still_a_function() -> None:
    as_port: Tool = page_on_call
    as_worker_port: WorkerTool = page_on_call
    assert as_worker_port is as_port
    assert (as_port.place, as_port.idempotent) == ("worker", False)
    assert page_on_call(CTX, "db", reason="slow") == "anna paged db: slow (key-1)"
    assert page_on_call.source.startswith(f"{__file__}:")


def test_running_it() -> None:
    assert page_on_call.run(CTX, {"service": "db"}) == "anna paged db: unknown (key-1)"


@dataclass(frozen=True)
class WorkersOwn:
    """What a worker has, which is more than authors get."""

    actor: str
    trace: str
    thread: UUID
    idempotency_key: str
    cancel: Never
    sandbox: NoSandbox


def test_authors_get_a_ctx_whatever_the_worker_has() -> None:
    seen: list[object] = []

    @tool
    def look(ctx: Ctx) -> None:
        seen.append(ctx)

    look.run(WorkersOwn(CTX.actor, CTX.trace, UUID(int=1), CTX.idempotency_key, Never(), NoSandbox()), {})
    look.run(CTX, {})
    assert isinstance(seen[0], Ctx)
    assert (seen[0].actor, seen[0].trace, seen[0].idempotency_key) == ("anna", "trace-1", "key-1")
    assert seen[1] is CTX


def test_arguments_of_the_decorator() -> None:
    @tool(name="read-only", idempotent=True)
    def whatever() -> str:
        return "x"

    assert (whatever.spec.name, whatever.idempotent) == ("read-only", True)
    assert whatever.spec.description == "read-only"
    assert whatever.spec.parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def test_every_type_that_a_parameter_may_have() -> None:
    @tool
    def everything(
        text: str,
        count: int,
        share: float,
        flag: bool,
        way: Literal["up", "down"],
        colour: Colour,
        names: list[str],
        counts: dict[str, int],
        maybe: Optional[int],  # noqa: UP045 - authors write both forms
        place: Place,
        person: Person,
        other: int | None = None,
        few: Annotated[int, Field(ge=1, description="At least one.")] = 2,
        many: list[Colour] = [Colour.RED],  # noqa: B006 - copied for each call
    ) -> str:
        """All of them."""
        assert isinstance(colour, Colour)
        assert isinstance(place, Place)
        assert isinstance(person, Person)
        return f"{text} {count} {share} {flag} {way} {names} {counts} {maybe} {place.floor} {other} {few} {many}"

    seen = properties(everything)
    assert [seen[name]["type"] for name in ("text", "count", "share", "flag", "way", "names", "counts")] == [
        "string", "integer", "number", "boolean", "string", "array", "object",
    ]  # fmt: skip
    assert seen["way"]["enum"] == ["up", "down"]
    assert seen["maybe"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert (seen["few"]["minimum"], seen["few"]["description"], seen["few"]["default"]) == (1, "At least one.", 2)
    assert seen["many"]["default"] == ["red"]
    assert set(everything.spec.parameters["required"]) == set(list(seen)[:11])
    assert everything.spec.parameters["$defs"]["Colour"]["enum"] == ["red", "blue"]
    result = everything.run(
        CTX,
        {
            "text": "a", "count": 1, "share": 0.5, "flag": True, "way": "up", "colour": "blue", "names": ["x"],
            "counts": {"k": 1}, "maybe": None, "place": {"name": "p"}, "person": {"name": "q"},
        },
    )  # fmt: skip
    assert result == "a 1 0.5 True up ['x'] {'k': 1} None 0 None 2 [<Colour.RED: 'red'>]"


def test_names_that_pydantic_keeps_for_itself() -> None:
    @tool
    def odd(json: str, copy: int, model_config: str, _hidden: str, schema: str, self: str) -> str:
        return f"{json} {copy} {model_config} {_hidden} {schema} {self}"

    values: dict[str, Any] = dict.fromkeys(properties(odd), "x")
    assert odd.run(CTX, {**values, "copy": 1}) == "x 1 x x x x"


def test_the_ctx_may_stand_anywhere_and_may_be_left_out() -> None:
    @tool
    def last(text: str, *, where: Ctx) -> str:
        return text + where.trace

    assert last.run(CTX, {"text": "a "}) == "a trace-1"
    assert list(properties(last)) == ["text"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "page_on_call: service: is missing"),
        ({"service": 5}, "service: Input should be a valid string"),
        ({"service": "a", "servce": "b"}, "servce: there is no such argument"),
        ({"service": "a", "ctx": {}}, "ctx: there is no such argument"),
        ({"reason": 1}, "service: is missing; reason: Input should be a valid string"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refused:
        page_on_call.run(CTX, args)
    assert words in refused.value.message


def test_async_tools() -> None:
    @tool
    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    def plain(text: str) -> Any:
        return later.function(text)

    assert later.run(CTX, {"text": "a"}) == "A"
    assert tool(plain).run(CTX, {"text": "b"}) == "B"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("plain ü", "plain ü"),
        ("", ""),
        (None, "null"),
        (5, "5"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        (Person(name="x"), '{"name":"x"}'),
        (Place("x"), '{"name":"x","floor":0}'),
        (Colour.RED, '"red"'),
        (math.nan, '"NaN"'),
    ],
)
def test_results_are_text_or_json(result: object, text: str) -> None:
    @tool
    def give() -> Any:
        return result

    assert give.run(CTX, {}) == text


def test_a_result_that_is_no_json() -> None:
    @tool
    def give() -> object:
        return object()

    with pytest.raises(Permanent, match="give: its result is no text and no JSON"):
        give.run(CTX, {})


def test_what_a_tool_raises_comes_through() -> None:
    @tool
    def fail() -> str:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        fail.run(CTX, {})


class Opaque:
    """A type that no JSON stands for."""


def untyped(x) -> str: ...  # type: ignore[no-untyped-def, empty-body]
def rest(*names: str) -> str: ...  # type: ignore[empty-body]
def options(**names: str) -> str: ...  # type: ignore[empty-body]
def positional(a: str, /) -> str: ...  # type: ignore[empty-body]
def opaque(x: Opaque) -> str: ...  # type: ignore[empty-body]
def unknown(x: Nowhere) -> str: ...  # type: ignore[name-defined, empty-body]  # noqa: F821
def stale(new: str) -> str:  # type: ignore[empty-body]
    """Words.

    Args:
        old: What it was called once.
    """


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (untyped, "tool untyped: parameter x has no type; write x: str"),
        (rest, "tool rest: parameter names has no fixed name"),
        (options, "tool options: parameter names has no fixed name"),
        (positional, "tool positional: parameter a has no fixed name"),
        (opaque, "tool opaque: a parameter's type can't be described to a model"),
        (unknown, "tool unknown: a type is not known when the tool is made: name 'Nowhere' is not defined"),
        (stale, "tool stale: the docstring describes old, which it does not take"),
        (functools.partial(untyped, 1), "is no function; write @tool"),
        ("name", "is no function; write @tool"),
    ],
)
def test_functions_that_are_no_tools(function: Any, words: str) -> None:
    with pytest.raises(TypeError) as refused:
        tool(function)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["", "has space", "1st", "ü", "a" * 65])
def test_names_that_models_do_not_take(name: str) -> None:
    with pytest.raises(TypeError, match="letters, digits"):
        tool(name=name)(test_names_that_models_do_not_take)


def paged(said: Any) -> AuthoredTool:
    @tool(confirm=lambda service, reason: said(service, reason) if callable(said) else said)
    def page(ctx: Ctx, service: str, reason: str = "none given") -> None: ...

    return page


async def later(service: str, reason: str) -> str:
    return f"Page {service}: {reason}"


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (None, Verdict("allow")),
        ("Page them", Verdict("ask", "Page them")),
        (Confirm("Page them", details="at night"), Verdict("ask", "Page them", "at night")),
        (Block("nobody is on call"), Verdict("block", "nobody is on call")),
        (lambda service, reason: f"Page {service}: {reason}", Verdict("ask", "Page db: none given")),
        (later, Verdict("ask", "Page db: none given")),
    ],
)
def test_confirm_decides_by_the_arguments(said: Any, verdict: Verdict) -> None:
    assert paged(said).judge({"service": "db"}) == verdict


@pytest.mark.parametrize(("confirm", "answer"), [(None, "allow"), (False, "allow"), (True, "ask"), ("Sure?", "ask")])
def test_every_call_or_none_is_asked_about(confirm: Any, answer: str) -> None:
    @tool(confirm=confirm)
    def wipe() -> None: ...

    assert wipe.judge({}).answer == answer


def test_what_confirm_raises_or_returns_by_mistake_is_no_permission() -> None:
    with pytest.raises(ZeroDivisionError):
        paged(lambda *_: 1 / 0).judge({"service": "db"})
    with pytest.raises(TypeError, match=r"confirm returned True; return None, a text, Confirm\(…\) or Block\(…\)"):
        paged(True).judge({"service": "db"})


def test_arguments_that_do_not_fit_are_refused_when_it_runs_and_never_reach_confirm() -> None:
    assert paged(lambda *_: 1 / 0).judge({"nonsense": 1}).answer == "allow"


@pytest.mark.parametrize(
    ("confirm", "problem"),
    [
        (lambda service: service, "confirm can't be called with service, reason: "),
        (7, "confirm is neither a function nor a text"),
        (" ", "confirm is neither a function nor a text"),
    ],
)
def test_a_confirm_that_can_not_work_is_told_at_once(confirm: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=f"tool page: {problem}"):

        @tool(confirm=confirm)
        def page(service: str, reason: str) -> None: ...


@tool
def echo(text: str, number: int, flags: list[bool], share: float) -> dict[str, Any]:
    """Give back."""
    return {"text": text, "number": number, "flags": flags, "share": share}


@given(
    st.fixed_dictionaries(
        {
            "text": st.text(),
            "number": st.integers(min_value=-(2**53), max_value=2**53),
            "flags": st.lists(st.booleans()),
            "share": st.floats(allow_nan=False, allow_infinity=False),
        }
    )
)
def test_what_goes_in_comes_out(args: dict[str, Any]) -> None:
    assert echo.arguments.model_validate_json(echo.run(CTX, args)) == echo.arguments.model_validate(args)
