"""Figures beside their goals: as a table on a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).resolve().parent / "out"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `goal` is the least it should be, or the most where `less_is_better`."""

    group: str
    what: str
    value: float
    unit: str
    goal: float | None = None
    less_is_better: bool = True
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How well the goal is met: 1 and more is met."""
        if self.goal is None or not self.value:
            return None
        return self.goal / self.value if self.less_is_better else self.value / self.goal

    @property
    def shown_goal(self) -> str:
        if self.goal is None:
            return ""
        return f"{'≤' if self.less_is_better else '≥'} {shown(self.goal, self.unit)}"


@dataclass
class Report:
    """A run's figures, and what went wrong in it."""

    machine: dict[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Turns lost, doubled or failed: these fail the run; slow ones don't."""

    def add(self, figures: Sequence[Figure]) -> None:
        self.figures += figures

    def write(self, folder: Path = OUT) -> None:
        """`report.json` and `report.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        figures = [{**asdict(figure), "ratio": figure.ratio} for figure in self.figures]
        whole = {"machine": self.machine, "figures": figures, "problems": self.problems}
        (folder / "report.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        (folder / "report.md").write_text(self.markdown())

    def markdown(self) -> str:
        lines = [f"{', '.join(self.machine.values())}.", ""]
        lines += ["| | load | measured | goal | ratio | |", "| --- | --- | ---: | ---: | ---: | --- |"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows()]
        lines += ["", *(f"- **{problem}**" for problem in self.problems)] if self.problems else []
        return "\n".join(lines) + "\n"

    def show(self) -> None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=160)
        table = Table(title=", ".join(self.machine.values()))
        for name, justify in (("", "left"), ("load", "left"), ("measured", "right"), ("goal", "right")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]  # a literal, widened by the loop
        table.add_column("ratio", justify="right")
        table.add_column("")
        for figure, row in zip(self.figures, self.rows(), strict=True):
            style = None if figure.ratio is None else "green" if figure.ratio >= 1 else "yellow"
            table.add_row(*row, style=style)
        console.print(table)
        for problem in self.problems:
            console.print(problem, style="bold red")

    def rows(self) -> list[list[str]]:
        return [
            [
                figure.group,
                figure.what,
                shown(figure.value, figure.unit),
                figure.shown_goal,
                "" if figure.ratio is None else f"{figure.ratio:.2f}",
                figure.note,
            ]
            for figure in self.figures
        ]


def shown(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".strip()


def machine() -> dict[str, str]:
    """What this was measured on, in words."""
    model = "unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": f"{os.cpu_count()} vCPU {model}",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"Python {platform.python_version()}",
    }
