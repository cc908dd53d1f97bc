"""What the authors of an agent import: `tool` makes a Python function one that the model can call, with a `Ctx`.

`confirm` of a tool says which of its calls a person is asked about (`Confirm`) and which are never made (`Block`).
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_json

from app.errors import Permanent, Refused
from app.ports import Cancel, SandboxReach, ToolContext, ToolSpec
from app.results import Verdict

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
HEADING = re.compile(r"(Args|Arguments|Parameters|Raises|Returns|Yields|Examples?|Notes?):\s*")
ENTRY = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


@dataclass(frozen=True, slots=True)
class Ctx:
    """What a tool may know about the turn that it serves."""

    actor: str
    """Who sent the message that this turn answers, as the provider names them."""
    trace: str
    """The id that ties everything about this turn together."""
    idempotency_key: str
    """The same on each rerun of this call, and of no other call."""
    cancel: Cancel
    """Set once the turn was cancelled; a long tool looks at it often."""
    sandbox: SandboxReach
    """Runs commands where the agent's own commands run: `ctx.sandbox.bash("make test")`, `.read(path)`, `.write(…)`."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask a person before this call; they read `message`, and `details` below it."""

    message: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Never make this call; the model is told the reason."""

    reason: str


Confirmation = str | Confirm | Block | None
"""None: make the call. A text is a Confirm."""


@dataclass(frozen=True, eq=False)
class AuthoredTool:
    """A tool from the agent folder; see `app.ports.Tool`. Calling it calls the function that it was made from."""

    spec: ToolSpec
    idempotent: bool
    function: Callable[..., Any]
    arguments: type[BaseModel]
    """One field for each parameter that the model fills in, with the parameter's name as its alias."""
    context: str | None
    """The parameter that takes the Ctx, where there is one."""
    confirm: Callable[..., Any] | str | bool | None = None
    """Called with the tool's own arguments, for a Confirmation; a text, or True: every call is asked about."""
    place: Literal["runner", "worker"] = "worker"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def judge(self, args: Mapping[str, Any]) -> Verdict:
        """See `app.ports.Tool`. Raises what `confirm` raises, and TypeError where it returns no Confirmation."""
        if self.confirm is None or self.confirm is False:
            return Verdict("allow")
        try:
            checked = self.arguments.model_validate(dict(args))
        except ValidationError:
            return Verdict("allow")  # nothing is run: `run` refuses such arguments, and tells the model why
        said = self.confirm if isinstance(self.confirm, str) else self._asked(checked)
        match said:
            case None:
                return Verdict("allow")
            case str(message) | Confirm(message, ""):
                return Verdict("ask", message)
            case Confirm(message, details):
                return Verdict("ask", message, details)
            case Block(reason):
                return Verdict("block", reason)
        raise TypeError(f"confirm returned {said!r}; return None, a text, Confirm(…) or Block(…)")

    def _asked(self, checked: BaseModel) -> Any:
        if not callable(self.confirm):
            return f"{self.spec.name}: each call of it is asked about"
        return settled(self.confirm(**self._by_name(checked)))

    def _by_name(self, checked: BaseModel) -> dict[str, Any]:
        return {str(field.alias): getattr(checked, name) for name, field in self.arguments.model_fields.items()}

    @property
    def source(self) -> str:
        """`file:line` of the function."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def run(self, ctx: Ctx | ToolContext, args: Mapping[str, Any]) -> str:
        """Call the function with `args` as the model wrote them; its result as text, or as JSON where it is none.

        Raises Refused for arguments that don't fit, Permanent for a result that can't be written as JSON, and
        whatever the function raises. Must not be called where an event loop runs.
        """
        try:
            checked = self.arguments.model_validate(dict(args))
        except ValidationError as error:
            raise Refused(f"{self.spec.name}: {'; '.join(map(argument_problem, error.errors()))}") from None
        given = self._by_name(checked)
        if self.context:
            given[self.context] = context_of(ctx)
        result = settled(self.function(**given))
        if isinstance(result, str):
            return result
        try:
            return to_json(result, inf_nan_mode="strings").decode()
        except PydanticSerializationError as error:
            raise Permanent(f"{self.spec.name}: its result is no text and no JSON", detail=str(error)) from error


@overload
def tool(function: Callable[..., Any], /) -> AuthoredTool: ...
@overload
def tool(
    *, name: str | None = None, idempotent: bool = False, confirm: Callable[..., Any] | str | bool | None = None
) -> Callable[[Callable[..., Any]], AuthoredTool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    idempotent: bool = False,
    confirm: Callable[..., Any] | str | bool | None = None,
) -> AuthoredTool | Callable[[Callable[..., Any]], AuthoredTool]:
    """Make a function a tool: `@tool`, or `@tool(idempotent=True)` where it may be run again after a crash.

    `confirm` is called with the tool's arguments before each call and returns None (make it), a text or Confirm (a
    person is asked) or Block; a plain text, or True, asks about every call. Where it raises, the call is not made.

    The model sees the function's name (or `name`), its docstring and its parameters with their types; descriptions
    come from the docstring's `Args:`. A parameter of type Ctx is filled in by heyfleet. Raises TypeError for a
    function that can't be described to a model.
    """

    def made(function: Callable[..., Any]) -> AuthoredTool:
        if not inspect.isfunction(function):
            raise TypeError(f"tool: {function!r} is no function; write @tool or @tool(name=…) above a def")
        chosen = function.__name__ if name is None else name
        return authored(function, chosen, idempotent=idempotent, confirm=confirm)

    return made if function is None else made(function)


def authored(
    function: Callable[..., Any], name: str, *, idempotent: bool, confirm: Callable[..., Any] | str | bool | None
) -> AuthoredTool:
    if not NAME.fullmatch(name):
        raise TypeError(f"tool {name}: a name is 1 to 64 letters, digits, _ and -, and begins with a letter or _")
    description, documented = docstring_parts(inspect.getdoc(function) or "")
    context, parameters = described(function, name)
    strange = sorted(documented.keys() - parameters.keys() - {context})
    if strange:
        raise TypeError(f"tool {name}: the docstring describes {', '.join(strange)}, which it does not take")
    fields: dict[str, Any] = {
        # Not the parameter's own name, which could be one that pydantic keeps for itself, such as `json` or `_path`.
        f"argument_{number}": (annotation, field_of(parameter, documented.get(parameter.name), default))
        for number, (parameter, annotation, default) in enumerate(parameters.values())
    }
    try:
        arguments = cast(type[BaseModel], create_model(name, __config__=ConfigDict(extra="forbid"), **fields))
        schema = arguments.model_json_schema(schema_generator=Untitled)
    except PydanticUserError as error:
        raise TypeError(f"tool {name}: a parameter's type can't be described to a model: {error.message}") from error
    schema.pop("title", None)
    spec = ToolSpec(name, description or name.replace("_", " "), {"properties": {}, **schema})
    check_confirm(confirm, name, parameters)
    return AuthoredTool(spec, idempotent, function, arguments, context, confirm)


def check_confirm(confirm: Any, name: str, parameters: Mapping[str, Any]) -> None:
    """What can't be called with the tool's arguments would be found out in the middle of a turn."""
    if confirm is None or isinstance(confirm, bool) or (isinstance(confirm, str) and confirm.strip()):
        return
    if not callable(confirm):
        raise TypeError(f"tool {name}: confirm is neither a function nor a text; write confirm=lambda …: …")
    try:
        inspect.signature(confirm).bind(**dict.fromkeys(parameters))
    except TypeError as error:
        names = ", ".join(parameters) or "no arguments"
        raise TypeError(f"tool {name}: confirm can't be called with {names}: {error}") from None


def docstring_parts(text: str) -> tuple[str, dict[str, str]]:
    """A Google-style docstring as what it says of the whole (without `Args:` and `Raises:`) and of each parameter."""
    kept: list[str] = []
    entries: list[str] = []
    section = ""
    for line in text.splitlines():
        heading = HEADING.fullmatch(line)
        if heading or (line and not line[0].isspace()):
            section = heading[1] if heading else ""
        if section in ("Args", "Arguments", "Parameters"):
            entries += [] if heading else [line]
        elif section != "Raises":
            kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), entries_of(inspect.cleandoc("\n" + "\n".join(entries)))


def entries_of(text: str) -> dict[str, str]:
    """`name: words` and the deeper lines below each, as one text a name."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        entry = ENTRY.fullmatch(line)
        if entry:
            name = entry[1]
            found[name] = entry[2]
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


Described = tuple[inspect.Parameter, Any, Any]


def described(function: Callable[..., Any], name: str) -> tuple[str | None, dict[str, Described]]:
    """The parameter that takes the Ctx, and the others by name with type and default."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"tool {name}: a type is not known when the tool is made: {error}") from error
    context: str | None = None
    parameters: dict[str, Described] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"tool {name}: parameter {parameter.name} has no fixed name; give it one")
        if hints.get(parameter.name) in (Ctx, ToolContext):
            context = parameter.name
        elif parameter.name not in hints:
            raise TypeError(f"tool {name}: parameter {parameter.name} has no type; write {parameter.name}: str")
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            parameters[parameter.name] = (parameter, hints[parameter.name], default)
    return context, parameters


def field_of(parameter: inspect.Parameter, description: str | None, default: Any) -> Any:
    """A field without a description leaves the one that an `Annotated` may have."""
    if description:
        return Field(default, alias=parameter.name, description=description)
    return Field(default, alias=parameter.name)


class Untitled(GenerateJsonSchema):
    """Titles repeat the names, and the model reads each of them with every request."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Never."""
        return False


def context_of(ctx: Ctx | ToolContext) -> Ctx:
    """What authors may rely on, and nothing else of what the worker knows."""
    return ctx if isinstance(ctx, Ctx) else Ctx(ctx.actor, ctx.trace, ctx.idempotency_key, ctx.cancel, ctx.sandbox)


def argument_problem(error: Any) -> str:
    """`reason: is missing`, or what pydantic says about it, which is written for the model that called."""
    where = ".".join(str(part) for part in error["loc"])
    texts = {"missing": "is missing", "extra_forbidden": "there is no such argument"}
    return f"{where}: {texts.get(error['type'], error['msg'])}"


def settled(result: Any) -> Any:
    """What a function returned, after waiting for it where it is asynchronous."""
    return asyncio.run(finished(result)) if inspect.isawaitable(result) else result


async def finished(result: Awaitable[T]) -> T:
    return await result
