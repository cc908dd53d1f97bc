"""From heyfleet.yaml and the environment to settings, or to one list of everything that is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.config.checks import checks
from app.config.document import Document, read_document
from app.config.environment import Environment, read_environment, set_from_environment
from app.config.job_files import add_jobs_of_folders
from app.config.job_rules import of_jobs
from app.config.jobs import JobSpec, as_section, spec_of
from app.config.problems import Origins, Problem, in_order
from app.config.secrets import secrets_of
from app.config.settings import Agent, Settings
from app.config.shape import child, names_below
from app.config.wording import problems_of
from app.errors import ConfigError
from app.log import redact

DEFAULT_FILE = "heyfleet.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration in force."""

    settings: Settings
    """All paths in it are absolute."""
    path: Path | None
    """The file it was read from, absolute; None where the built-in defaults serve."""
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The environment with `.env` in it: where the providers' own variables (OPENAI_API_KEY …) are to be looked up."""

    @property
    def jobs(self) -> list[JobSpec]:
        """The jobs of the configuration and of the agents' folders."""
        only = next(iter(self.settings.agents))
        return [spec_of(job, only) for job in self.settings.jobs.define]


def load(path: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Loaded:
    """Read the configuration: `path`, else `$HEYFLEET_CONFIG`, else `heyfleet.yaml` in `cwd`, else built-in defaults.

    `./.env` is read first; `environ` (the process's, where None) wins over it. Relative paths are taken from the
    file's folder, or from `cwd` without a file. Raises ConfigError with every problem, one line each.
    """
    here = Path(os.path.abspath(cwd or Path.cwd()))
    environment = read_environment(here, os.environ if environ is None else environ)
    problems = list(environment.problems)
    try:
        file = find(path, environment, here)
        document = read(file, here, environment)
    except ConfigError as error:
        raise ConfigError([*in_order(problems), *error.problems]) from None
    data, origins = document.data, document.origins
    problems += document.problems
    base = file.parent if file else here
    with_jobs_as_section(data, origins)
    problems += set_from_environment(data, origins, environment, document.names)
    in_files, wrong_files, unread = add_jobs_of_folders(data, origins, base, here, environment.values)
    problems += wrong_files
    drop_nulls(data)
    settings, wrong = checked(data, origins, problems)
    if settings is None or wrong or unread:
        raise ConfigError([*in_order(of_jobs(wrong, data, in_files)), *unread])
    for secret in secrets_of(settings, environment.values):
        redact(secret)
    return Loaded(absolute(settings, base, environment), file, environment.values)


def with_jobs_as_section(data: dict[str, Any], origins: Origins) -> None:
    """Write `jobs: [...]` as `jobs: {define: [...]}`, so that the environment can set what stands beside the list."""
    if isinstance(data.get("jobs"), list):
        data["jobs"] = as_section(data["jobs"])
        origins.move(("jobs",), ("jobs", "define"))


def find(path: Path | None, environment: Environment, here: Path) -> Path | None:
    """The file to read, absolute, or None for the defaults. Raises ConfigError where a named file isn't there."""
    named = environment.values.get("HEYFLEET_CONFIG")
    wanted, by = (path, "--config") if path is not None else (Path(named) if named else None, "HEYFLEET_CONFIG")
    if wanted is None:
        default = here / DEFAULT_FILE
        return default if default.exists() else None
    # abspath and not resolve: in a mounted ConfigMap the file is a link into a folder that changes its name.
    file = Path(os.path.abspath(here / wanted))
    if not file.exists():
        raise ConfigError([f"{wanted}: there is no such file; correct {by}"])
    return file


def read(file: Path | None, here: Path, environment: Environment) -> Document:
    if file is None:
        return Document({}, Origins("built-in defaults"), frozenset(), ())
    name = str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([f"{name}: is not in UTF-8; save it as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{name}: can't be read ({error.strerror}); name a file that can"]) from None
    return read_document(text, name, environment.values)


def drop_nulls(data: Any, annotation: Any = Settings) -> None:
    """Take out keys without a value, so that their defaults serve: a section whose lines are all commented out."""
    from_section = isinstance(data, dict) and bool(names_below(annotation, data))
    for name in [name for name, value in data.items() if value is None] if from_section else []:
        del data[name]
    for part, value in list(data.items()) if isinstance(data, dict) else enumerate(data):
        if isinstance(value, dict | list):
            drop_nulls(value, child(annotation, part, data))


def checked(data: dict[str, Any], origins: Origins, known: Iterable[Problem]) -> tuple[Settings | None, list[Problem]]:
    """The settings, and everything that is wrong; a key that is known to be wrong is not told of twice."""
    problems = list(known)
    problems += unreported(problems, checks(data, origins))
    try:
        return Settings.model_validate(data), problems
    except ValidationError as error:
        found = problems_of(error, data, origins)
    # What a check of the whole finds has no key, and the checks above have it with one.
    whole = [problem for problem in found if not problem.key]
    problems += unreported(problems, [problem for problem in found if problem.key])
    return None, problems or whole


def unreported(known: Iterable[Problem], more: Iterable[Problem]) -> list[Problem]:
    """Those of `more` whose key is not reported already."""
    keys = {problem.key for problem in known}
    return [problem for problem in more if problem.key not in keys]


def absolute(settings: Settings, folder: Path, environment: Environment) -> Settings:
    """The settings with every path absolute and `~` as the environment's HOME."""

    def at(path: Path) -> Path:
        home = environment.values.get("HOME")
        if path.parts[:1] == ("~",) and home:
            path = Path(home, *path.parts[1:])
        return Path(os.path.abspath(folder / path))

    # model_construct keeps which keys were set: a missing agent folder is an error only where somebody named it.
    agents = {
        name: Agent.model_construct(set(agent.model_fields_set), **{**dict(agent), "path": at(agent.path)})
        for name, agent in settings.agents.items()
    }
    runtime = settings.runtime.model_copy(update={"workspace": at(settings.runtime.workspace)})
    log = settings.log
    # Under honcho a process writes into a pipe that ends on a person's terminal.
    if log.format == "auto" and "HONCHO_PROCESS_NAME" in environment.values:
        log = log.model_copy(update={"format": "console"})
    changed = {"agents": agents, "runtime": runtime, "state_dir": at(settings.state_dir), "log": log}
    return settings.model_copy(update=changed)
