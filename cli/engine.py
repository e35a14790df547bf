"""The calls into the pipeline that take long. Commands get an `Engine` handed in, and tests hand in another."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import JobDone, Listener, StopSignal

if TYPE_CHECKING:
    from ..plan.request import Request
    from ..report.summary import Measured
    from ..run.dry_run import DryRun
    from .machine_checks import Finding


class Engine:
    """Imports the pipeline when it is called, so that other commands start without torch."""

    def stylize(self, request: "Request", listener: Listener, stop: StopSignal) -> JobDone:
        """See `job_run.stylize`."""
        from ..run.job_run import stylize

        return stylize(request, listener, stop)

    def dry_run(self, request: "Request", listener: Listener) -> "DryRun":
        """See `dry_run.dry_run`."""
        from ..run.dry_run import dry_run

        return dry_run(request, listener)

    def resume(
        self,
        job: Path,
        listener: Listener,
        stop: StopSignal,
        device: str | None,
        executor: str | None,
        address: str | None,
        content: Sequence[Path] = (),
        styles: Sequence[Path] = (),
        output: Path | None = None,
    ) -> JobDone:
        """See `job_run.resume`."""
        from ..run.job_run import resume

        return resume(job, listener, stop, device, executor, address, content=content, styles=styles, output=output)

    def measure(self, *arguments: Any, **options: Any) -> "Iterator[Measured]":
        """See `report.measure.measure`."""
        from ..report.measure import measure

        return measure(*arguments, **options)

    def check_machine(self) -> "Sequence[Finding]":
        """See `machine_checks.check_machine`."""
        from .machine_checks import check_machine

        return check_machine()
