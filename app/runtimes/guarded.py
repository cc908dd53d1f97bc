"""Commands on the host, after the command policy has looked at them. A guardrail, not isolation."""

from __future__ import annotations

from app.errors import Refused
from app.policy.classify import classify
from app.ports import Cancel, Executed, Sandbox
from app.runtimes.files import Folder
from app.runtimes.folder import FolderSandbox, Launch
from app.runtimes.host import HostRuntime


class GuardedSandbox(FolderSandbox):
    """A sandbox on the host that runs only what the policy allows by itself."""

    def exec(self, command: str, *, timeout: float, cancel: Cancel) -> Executed:
        verdict = classify(command)
        match verdict.answer:
            case "allow":
                return super().exec(command, timeout=timeout, cancel=cancel)
            case "ask":
                # No answer and no reachable approver mean no.
                raise Refused(f"not run, it needs an approval: {verdict.reason}", status=403)
            case "block":
                raise Refused(f"not run, it is blocked: {verdict.reason}", status=403)


class GuardedRuntime(HostRuntime):
    """See `app.ports.Runtime`."""

    name = "guarded"

    def sandbox(self, files: Folder, launch: Launch) -> Sandbox:
        return GuardedSandbox(files, launch, self._settings)
