"""TODO: cli.records."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..job.status import JobStatus
    from ..report.stability import Stability
    from ..report.summary import MeanStability, Measured, Summary


def measured_record(item: "Measured") -> dict[str, object]:
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


def _stability_record(pair: "Stability | MeanStability") -> dict[str, object]:
    return {
        "distance": pair.distance,
        "warping_error_x1000": thousandfold(pair.warping_error),
        "content_warping_error_x1000": thousandfold(pair.content_warping_error),
        "trusted_share": pair.visible_share,
    }


def thousandfold(error: float | None) -> float | None:
    return None if error is None else 1000 * error


def _finite(value: float | None) -> float | None:
    """The value, or None where it is none that JSON has a word for."""
    return value if value is not None and math.isfinite(value) else None


def status_record(state: "JobStatus") -> dict[str, object]:
    record: dict[str, object] = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(state).items()
    }
    record["devices"] = [vars(item) for item in state.devices]
    record["failed"] = [{"name": name, "message": message} for name, message in state.failed]
    record["losses"] = None if state.losses is None else {**vars(state.losses), "objective": state.losses.objective}
    return record
