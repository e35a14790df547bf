"""The JSON records of commands that are not events of a job; their keys are part of the contract."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..job.status import JobStatus
    from ..report.stability import Stability
    from ..report.summary import MeanStability, Measured, Summary
    from ..run.dry_run import DryRun


def dry_run_record(plan: "DryRun") -> dict[str, object]:
    """`stylize --dry-run --json`."""
    return {
        "event": "dry_run",
        **{key: str(value) if isinstance(value, Path) else value for key, value in vars(plan).items()},
    }


def status_record(status: "JobStatus") -> dict[str, object]:
    """`status --json`."""
    record: dict[str, object] = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(status).items()
    }
    record["devices"] = [vars(item) for item in status.devices]
    record["failed"] = [{"name": name, "message": message} for name, message in status.failed]
    losses = status.losses
    record["losses"] = None if losses is None else {**vars(losses), "objective": losses.objective}
    record["time_use"] = None if status.time_use is None else vars(status.time_use)
    return {"event": "status", **record}


def measured_record(item: "Measured") -> dict[str, object]:
    """One picture of `measure --json`."""
    losses, (height, width) = item.losses, item.size
    return {
        "event": "measured",
        "index": item.index,
        "name": item.name,
        "size": [height, width],
        "content": _finite(losses.content),
        "style": _finite(losses.style),
        "total_variation": _finite(losses.total_variation),
        "objective": _finite(losses.objective),
        "luminance": item.luminance,
        "contrast": item.contrast,
        "sharpness": item.sharpness,
        "sharpness_to_cold": _finite(item.sharpness_to_cold),
        "objective_to_cold": _finite(item.objective_to_cold),
        "shot": item.shot,
        "stability": [_stability_record(pair) for pair in item.stability],
    }


def summary_record(summary: "Summary") -> dict[str, object]:
    """The last line of `measure --json`."""
    courses = {name: getattr(summary, name) for name in ("objective", "luminance", "contrast", "sharpness")}
    return {
        "event": "measured_all",
        "pictures": summary.picture_count,
        "mean_objective": _finite(summary.objective.mean),
        "shots": summary.shot_count,
        **{
            name: {
                "mean": _finite(course.mean),
                "first": _finite(course.first),
                "last": _finite(course.last),
                "trend_per_100": _finite(course.trend),
            }
            for name, course in courses.items()
        },
        "sharpness_to_cold": _finite(summary.sharpness_to_cold),
        "objective_to_cold": _finite(summary.objective_to_cold),
        "cold_starts": summary.cold_count,
        "stability": [{**_stability_record(pair), "pairs": pair.pair_count} for pair in summary.stability],
    }


def thousandfold(error: float | None) -> float | None:
    """A warping error in thousandths, the unit in which people and programs get it."""
    return None if error is None else 1000 * error


def _stability_record(pair: "Stability | MeanStability") -> dict[str, object]:
    return {
        "distance": pair.distance,
        "warping_error_x1000": thousandfold(pair.warping_error),
        "content_warping_error_x1000": thousandfold(pair.content_warping_error),
        "trusted_share": pair.visible_share,
    }


def _finite(value: float | None) -> float | None:
    """The value, or None for infinities and NaN, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None
