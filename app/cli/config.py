"""`heyfleet config`: show the effective configuration, check it, print its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from app.agent.folder import load_agent
from app.config.load import Loaded, load
from app.config.show import masked, schema
from app.errors import ConfigError

config_app = typer.Typer(name="config", help="Show and check the configuration.", no_args_is_help=True)


@config_app.command("show")
def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of YAML.")] = False,
) -> None:
    """Print the effective configuration with secrets masked."""
    settings = masked(loaded(context).settings)
    typer.echo(as_text(settings) if as_json else yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip())


@config_app.command("check")
def check(context: typer.Context) -> None:
    """Check the configuration and the agent folders; exit 1 with every problem on stderr."""
    found = loaded(context)
    problems = [problem for agent in found.settings.agents for problem in agent_problems(found, agent)]
    if problems:
        raise refused(problems)
    name = found.path or "no heyfleet.yaml, the built-in defaults serve"
    typer.echo(f"ok: {name} (agents: {', '.join(found.settings.agents)})")


@config_app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of heyfleet.yaml."""
    typer.echo(as_text(schema()))


def loaded(context: typer.Context) -> Loaded:
    """The configuration that the parent's `--config` names. Ends the command where it is wrong."""
    path: Path | None = getattr(context.obj, "config", None)
    try:
        return load(path)
    except ConfigError as error:
        raise refused(error.problems) from None


def agent_problems(found: Loaded, agent: str) -> list[str]:
    try:
        load_agent(agent, found.settings.agents[agent])
    except ConfigError as error:
        return error.problems
    return []


def refused(problems: list[str]) -> typer.Exit:
    for problem in problems:
        typer.echo(problem, err=True)
    return typer.Exit(1)


def as_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
