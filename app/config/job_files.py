"""Jobs that lie in agent folders: `jobs/*.yaml`, one job in each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.config.document import read_document
from app.config.jobs import as_section
from app.config.problems import Origin, Origins, Problem
from app.errors import ConfigError

SUFFIXES = (".yaml", ".yml")


def add_jobs_of_folders(
    data: dict[str, Any], origins: Origins, base: Path, here: Path, variables: Mapping[str, str]
) -> tuple[int, list[Problem], list[str]]:
    """Put the jobs of all agents' folders behind those of the configuration. How many, what is wrong with how they
    are put down, and the same of files that are no YAML.

    `base` is where relative paths begin, and `here` the folder that people see files from.
    """
    jobs = listed(data)
    count, problems, unread = 0, list[Problem](), list[str]()
    if jobs is None:
        return count, problems, unread
    for agent, folder in agent_folders(data, base):
        try:
            paths = list(job_files(folder))
        except OSError as error:
            unread.append(f"{folder / 'jobs'}: can't be read ({error.strerror}); make it a folder that can")
            continue
        for path in paths:
            name = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
            try:
                document = read_document(path.read_text(encoding="utf-8-sig"), name, variables)
            except ConfigError as error:
                unread += error.problems
                continue
            except (UnicodeDecodeError, OSError) as error:
                unread.append(f"{name}: can't be read as text ({error}); make it a file in UTF-8")
                continue
            key = ("jobs", "define", len(jobs))
            origins.adopt(key, document.origins)
            problems += [Problem(found.origin, (*key, *found.key), found.text) for found in document.problems]
            if "agent" in document.data:
                text = "is the one whose folder this lies in; leave agent out"
                problems.append(Problem(document.origins[("agent",)], (*key, "agent"), text))
            jobs.append({"id": path.stem, **document.data, "agent": agent})
            origins[(*key, "agent")] = Origin(name)
            count += 1
    return count, problems, unread


def listed(data: dict[str, Any]) -> list[Any] | None:
    """The list that jobs stand in, made where there is none; None where something else stands there."""
    section = as_section(data.get("jobs"))
    if section is None:
        section = {}
    if not isinstance(section, dict):
        return None
    if section.get("define") is None:
        section["define"] = []
    data["jobs"] = section
    return section["define"] if isinstance(section["define"], list) else None


def agent_folders(data: Mapping[str, Any], base: Path) -> Iterator[tuple[str, Path]]:
    """Each agent with its folder, as far as the raw data tell."""
    agents = data.get("agents")
    for name, agent in (agents if isinstance(agents, Mapping) and agents else {"default": {}}).items():
        path = agent.get("path") if isinstance(agent, Mapping) else None
        if path is None or isinstance(path, str):
            yield str(name), Path(os.path.abspath(base / Path(path or "agent").expanduser()))


def job_files(folder: Path) -> Iterator[Path]:
    """The files, found recursively, in lexical order. Hidden ones are left out (a mounted ConfigMap has copies).

    Raises OSError where there is something that can't be read: that is not the same as no jobs.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, folders, files in os.walk(folder / "jobs", onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix in SUFFIXES:
                yield Path(place) / name
