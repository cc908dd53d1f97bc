"""What a failed model request means: whether to try again is decided here, each time with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import structlog
from pydantic_ai import exceptions as library

from app.errors import ContextOverflow, HeyfleetError, Permanent, Transient

log = structlog.get_logger()

DETAIL_CHARACTERS = 2000
SHORTEST_KEY = 8
KEY = re.compile(r"(?i)\b(?:bearer\s+|sk-|xai-|gsk_|AIza)[\w.*-]{4,}")

# The request itself is fine, the server was not: a timeout, a conflict of its own, "too early", or overload.
# 529 is Anthropic's "overloaded". https://docs.claude.com/en/api/errors
MAY_PASS = {408, 409, 425, 429}

# Not all servers send the code context_length_exceeded; these are the words of OpenAI, vLLM, Anthropic, Bedrock,
# llama.cpp, LM Studio and Google for the same.
TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "prompt is too long",
    "input is too long",
    "input token count",
    "exceeds the available context size",
    "exceed context limit",
    "context length of only",
    "context window",
)


def failure_of(error: Exception, model: str, secrets: Sequence[str] = ()) -> HeyfleetError:
    """The error that the turn loop gets. `secrets` are taken out of its detail."""
    detail = without_secrets(detail_of(error), secrets)[:DETAIL_CHARACTERS]
    match error:
        case library.ModelHTTPError():
            return of_status(error, model, detail)
        # The library's own limits on time, where one is set, and the transport's.
        case library.ModelTimeoutError() | library.ModelRequestTimeout() | TimeoutError():
            return Transient(f"{model} did not answer in time.", detail=detail)
        # Refused, reset, or cut off in the middle of the answer: another try gets another connection.
        case library.ModelConnectionError() | OSError():
            return Transient(f"{model} could not be reached, or broke off its answer.", detail=detail)
        case library.ModelQuotaExceededError() | library.ModelRequestRejectedError():
            return of_category(error, model, detail)
        # An error event inside a stream that names no status, or an answer that is no JSON.
        case library.ModelAPIError():
            return Transient(f"{model} broke off its answer, or it could not be read.", detail=detail)
        # The provider's filter: the same text meets it again.
        case library.ContentFilterError():
            return Permanent(f"{model} refused to answer: its provider's content filter stopped it.", detail=detail)
        # JSON, but not what the API promises: seen from servers that are starting, and from gateways' error pages.
        case library.UnexpectedModelBehavior():
            return Transient(f"{model} gave an answer that could not be read.", detail=detail)
        # The request asks for what the library knows this model can't do.
        case library.UserError():
            return Permanent(f"{model} can't take this request.", detail=detail)
    return of_surprise(error, model, detail)


def of_status(error: library.ModelHTTPError, model: str, detail: str) -> HeyfleetError:
    status = error.status_code
    # An account without credit answers 429 like one that is too fast, but no wait helps.
    if isinstance(error, library.ModelQuotaExceededError):
        return of_category(error, model, detail)
    if status in MAY_PASS or status >= 500:
        what = "takes no more requests right now" if status == 429 else "is out of order right now"
        return Transient(f"{model} {what} ({status}).", detail=detail, retry_after=error.retry_after)
    # 413: fewer messages would be taken.
    if status == 413 or (status in (400, 422) and any(words in detail.lower() for words in TOO_LONG)):
        return ContextOverflow(f"The conversation is too long for {model}.", detail=detail)
    return of_category(error, model, detail)


def of_category(error: library.ModelAPIError, model: str, detail: str) -> HeyfleetError:
    """What the provider will answer again, whenever it is asked."""
    match error:
        case library.ModelContextWindowExceededError():
            return ContextOverflow(f"The conversation is too long for {model}.", detail=detail)
        case library.ModelQuotaExceededError():
            return Permanent(f"The account for {model} has no credit or quota left.", detail=detail)
        case library.ModelAuthenticationError():
            return Permanent(
                f"{model} refused the API key: check that it is right and may use this model.", detail=detail
            )
        case library.ModelNotFoundError():
            return Permanent(f"{model} does not exist at its provider, or the API key may not use it.", detail=detail)
    return Permanent(f"{model} refused the request.", detail=detail)


def of_surprise(error: Exception, model: str, detail: str) -> HeyfleetError:
    """What the libraries let through: mostly transport errors of a stream, and answers they stumble over.

    A second try is bounded by the turn loop; a fault of ours would show in the log as often as it is tried.
    """
    if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
        return Transient(f"{model} could not be reached, or broke off its answer.", detail=detail)
    log.warning("model_request_failed_oddly", model=model, error=detail, exc_info=error)
    return Transient(f"{model} gave an answer that could not be read.", detail=detail)


def detail_of(error: Exception) -> str:
    """Status and body for the operator, in one line; the cause where there is no body."""
    body = getattr(error, "body", None)
    if body is None:
        first = first_cause(error)
        said = str(error) if first is error else f"{error} ({type(first).__name__}: {first})"
    else:
        said = body if isinstance(body, str) else json.dumps(body, default=str)
    status = f"{error.status_code} " if isinstance(error, library.ModelHTTPError) else ""
    return " ".join(f"{type(error).__name__}: {status}{said}".split())


def first_cause(error: BaseException) -> BaseException:
    """What it began with: the SDKs wrap a refused connection into "Connection error."."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        # A server without keys gets a placeholder; to take "none" out of a sentence would only spoil it.
        if len(secret) >= SHORTEST_KEY:
            text = text.replace(secret, "***")
    return KEY.sub("***", text)
