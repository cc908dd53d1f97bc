"""Commands on the host, after the command policy has looked at them. A guardrail, not isolation."""

from __future__ import annotations

from app.config.settings import Runtime as RuntimeSettings
from app.errors import Refused
from app.policy.classify import classify
from app.policy.patterns import NO_PATTERNS, Patterns
from app.ports import Cancel, Executed, Sandbox
from app.runtimes.files import Folder
from app.runtimes.folder import FolderSandbox, Launch
from app.runtimes.host import HostRuntime


class GuardedSandbox(FolderSandbox):
    """A sandbox on the host that runs nothing that is blocked, whoever asks for it.

    What is to be asked about was asked about before the call came here.
    """

    def __init__(self, files: Folder, launch: Launch, settings: RuntimeSettings, patterns: Patterns) -> None:
        super().__init__(files, launch, settings)
        self._patterns = patterns

    def exec(self, command: str, *, timeout: float, cancel: Cancel) -> Executed:
        verdict = classify(command, self._patterns)
        if verdict.answer == "block":
            raise Refused(f"not run, it is blocked: {verdict.reason}", status=403)
        return super().exec(command, timeout=timeout, cancel=cancel)


class GuardedRuntime(HostRuntime):
    """See `app.ports.Runtime`."""

    name = "guarded"

    def __init__(self, settings: RuntimeSettings, patterns: Patterns = NO_PATTERNS) -> None:
        super().__init__(settings)
        self._patterns = patterns

    def sandbox(self, files: Folder, launch: Launch) -> Sandbox:
        return GuardedSandbox(files, launch, self._settings, self._patterns)
