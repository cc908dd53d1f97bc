"""Commands on the host itself, in a workspace folder. No isolation: for development and trusted administration."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from app.config.settings import Runtime as RuntimeSettings
from app.ports import Cancel, Sandbox
from app.runtimes.files import Folder
from app.runtimes.folder import FolderSandbox, Launch
from app.runtimes.process import PATH, Command, Ended, Feed, Processes, rlimits
from app.runtimes.workspace import make_folder

HOMEBREW = ":/opt/homebrew/bin"


def host_path() -> str:
    """Where commands are looked for. A fixed one: nothing of the runner's environment, which holds secrets."""
    return PATH + HOMEBREW if sys.platform == "darwin" else PATH


def missing_bash() -> str | None:
    return None if shutil.which("bash", path=host_path()) else f"bash is not installed in any of {host_path()}"


class HostRuntime:
    """See `app.ports.Runtime`."""

    name = "host"
    portable = False

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._processes = Processes(rlimits(settings))

    def available(self) -> str | None:
        return missing_bash()

    def open(self, key: str, snapshot: bytes | None) -> Sandbox:  # noqa: ARG002 — the folder is its state
        root = make_folder(make_folder(self._settings.workspace) / key)
        folder = str(root)

        def launch(argv: Sequence[str], feed: Feed, *, timeout: float, cancel: Cancel) -> Ended:
            command = Command(
                argv=argv,
                cwd=folder,
                env={"PATH": host_path(), "HOME": folder, "PWD": folder, "LANG": "C.UTF-8", "TERM": "dumb"},
                max_processes=self._settings.max_processes,
            )
            return self._processes.run(command, feed, timeout=timeout, cancel=cancel)

        return self.sandbox(Folder(root, folder, self._settings.max_file_bytes), launch)

    def sandbox(self, files: Folder, launch: Launch) -> Sandbox:
        return FolderSandbox(files, launch, self._settings)

    def close(self) -> None:
        """End the supervisor; the next command starts another."""
        self._processes.close()
