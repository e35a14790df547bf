"""Notices of a run, which are shown and kept in the job's log."""

from collections.abc import Callable

from ..events import Listener, Notice
from ..job.job import Job


def notify(job: Job, listener: Listener, text: str) -> None:
    """Logs a line, and reports it as a notice."""
    job.log(text)
    listener(Notice(text))


def notify_not_kept(job: Job, notify: Callable[[str], None], text: str, name: str = "") -> None:
    """Records what the output cannot keep of the content's file `name`, empty where there is only one.

    `notify` logs and reports a line; it is called for the first file that loses this. The others are logged, and
    counted in the summary.
    """
    line = f"{name}: {text}" if name else text
    if job.record_not_kept(text, name):
        notify(line)
    else:
        job.log(line)
