"""A soak's report, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tests.chaos.soak import Report


def as_text(report: Report) -> str:
    verdict = report.verdict
    faults = ", ".join(f"{name} {count}" for name, count in sorted(report.faults.items()))
    rows: list[tuple[str, object]] = [
        ("faults", f"{sum(report.faults.values())} in {report.seconds:.0f} s, seed {report.seed}, {report.broker}"),
        ("", f"{faults}; {report.missed} hit nobody"),
        ("accepted", f"{report.processes} processes, {verdict.steps} steps; {report.refused} calls were repeated"),
        ("finished", f"{verdict.completed} steps completed, {verdict.given_up} given up, {report.healed_s} s after"),
        ("runs", f"{verdict.runs} bodies, {verdict.repeated_bodies} steps with more than one that came to its end"),
        ("", f"{verdict.overlaps} pairs of them at the same time; {verdict.repeated_attempts} attempts with two"),
        ("noticed", f"after {verdict.detection(50)} s (median), {verdict.detection(99)} s (p99) of {_cut_off(report)}"),
        ("lost", _count(verdict.lost)),
        ("counted twice", _count(verdict.twice)),
        ("unproven", _count(verdict.unproven)),
        ("attempts", _count(verdict.too_many_attempts) + f" too many, at most {verdict.most_attempts} of a step"),
        ("untracked", _count(verdict.untracked)),
    ]
    return "\n".join(f"{name:>14}  {value}" for name, value in rows)


def _cut_off(report: Report) -> str:
    return f"{len(report.verdict.detection_s)} runs that were cut off"


def _count(keys: list[tuple[str, str]]) -> str:
    return str(len(keys)) + (f": {keys}" if keys else "")


def as_json(report: Report) -> str:
    figures: dict[str, Any] = asdict(report)
    verdict = figures.pop("verdict")
    del verdict["detection_s"]
    percentiles = {f"noticed_p{percent}_s": report.verdict.detection(percent) for percent in (50, 99)}
    return json.dumps({**figures, **verdict, **percentiles}, indent=2) + "\n"
