"""Notices of a run, which are shown and kept in the job's log."""

from ..events import Listener, Notice
from ..job.job import Job


def notify(job: Job, listener: Listener, text: str) -> None:
    """Logs a line, and reports it as a notice."""
    job.log(text)
    listener(Notice(text))
