"""Every text that heyfleet itself says in chat."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator

from app.config.section import Section

PLACEHOLDERS = {
    "cancelled": ("who",),
    "failed": ("reason",),
    "max_steps": ("steps",),
    "turn_timeout": ("minutes",),
    "approval_request": ("id", "requester", "tool", "arguments", "reason", "minutes"),
    "approval_approved": ("id", "tool", "who"),
    "approval_denied": ("id", "tool", "who"),
    "approval_expired": ("id", "tool"),
    "approval_cancelled": ("id", "tool", "who"),
    "approval_decided": ("id", "outcome", "who"),
    "approval_line": ("id", "tool", "arguments", "requester", "minutes"),
    "pending_approval_reject": ("ids",),
    "bypass_granted": ("id", "user", "scope", "minutes"),
    "bypass_revoked": ("id",),
    "bypass_line": ("id", "user", "scope", "who", "minutes"),
    "cancelling": ("id",),
    "nothing_to_cancel": ("id",),
    "not_permitted": ("reason",),
    "unknown_id": ("id", "command"),
    "status_line": ("id", "state", "who", "minutes"),
}
"""What can be filled into each text of `messages`."""


class Messages(Section):
    cancelled: str = "Cancelled by {who}."
    failed: str = "Something went wrong: {reason}"
    max_steps: str = "I stopped after {steps} steps without reaching an end."
    turn_timeout: str = "I stopped after {minutes} minutes of work without reaching an end."
    empty_reply: str = "(no answer)"
    approval_request: str = (
        "Approval {id}: for {requester} I would call {tool}:\n{arguments}\nWhy I ask: {reason}\n"
        "Answer within {minutes} min: approve {id} · deny {id} · approve {id} bypass"
    )
    """The card."""
    approval_approved: str = "{who} approved {id} ({tool})."
    approval_denied: str = "{who} denied {id} ({tool}); it is not run."
    approval_expired: str = "Nobody answered {id} ({tool}) in time; it is not run."
    approval_cancelled: str = "{id} ({tool}) needs no answer any more: {who} cancelled it."
    approval_decided: str = "{id} was {outcome} by {who} already."
    """For who comes too late."""
    approval_line: str = "{id}  {tool} {arguments} (for {requester}, {minutes} min left)"
    no_approvals: str = "Nothing waits for an approval here."
    pending_approval_reject: str = (
        "I wait for an approval ({ids}) and take nothing else on in this conversation until it is answered. "
        "Say it again then."
    )
    bypass_granted: str = "{user} is not asked for {minutes} min ({scope}); revoke {id} ends it."
    bypass_revoked: str = "Bypass {id} is revoked."
    bypass_line: str = "{id}  {user} is not asked ({scope}), granted by {who}, {minutes} min left"
    no_bypasses: str = "Nobody has a bypass here."
    cancelling: str = "{id} is being cancelled."
    nothing_to_cancel: str = "{id} is finished, or being cancelled already."
    not_permitted: str = "Not done: {reason}."
    unknown_id: str = (
        "There is no {id} here that could be meant by {command}; approvals, bypasses and status say what there is."
    )
    status_line: str = "{id}  {state} since {minutes} min, for {who}"
    status_idle: str = "Nothing is being worked on in this conversation."
    busy: str = "I am busy with an earlier message here; say it again when that is done."
    taken: str = "I am at it; the outcome comes here."
    """For who gave a command that takes a while."""
    not_allowed: str = "You are not allowed to do that here."
    commands: str = (
        "I know: approvals · bypasses · approve ID [bypass] · deny ID · revoke ID · status [ID] · cancel ID · "
        "bash COMMAND · new"
    )
    """For who gives a command that there is not."""
    fresh_start: str = "We start afresh: I don't see what was said before any more."
    no_bash: str = "The bash tool is switched off."

    @field_validator("*")
    @classmethod
    def filled_in(cls, text: str, info: ValidationInfo) -> str:
        """A placeholder that nothing fills would be found out in the middle of a turn."""
        known = PLACEHOLDERS.get(info.field_name or "", ())
        try:
            text.format(**dict.fromkeys(known, ""))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            can = ", ".join(f"{{{name}}}" for name in known) or "none"
            raise ValueError(f"a placeholder can't be filled in (there is: {can}; a brace itself is {{{{)") from error
        return text
