"""The commands that look at a job's folder: `status`, `verify` and `clean`."""

from typing import Annotated

import typer

from ..errors import JobError
from .formatting import format_bytes, format_count, short_path
from .job_lines import print_status
from .options import JobArgument, JsonOption
from .output import print_json, print_line
from .records import status_record
from .session import session


def status(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show the progress, speed and remaining time of a job."""
    with session(context, as_json=as_json):
        from ..api import jobs

        job_status = jobs.status(job)
        if as_json:
            print_json(status_record(job_status))
        else:
            print_status(job_status)


def verify(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Check every file of a job against its recorded hash, and list the differences."""
    with session(context, as_json=as_json):
        from ..job.job import Job
        from ..job.status import status_of
        from ..job.verification import find_problems

        with Job.read(job) as open_job:
            problems, job_status = find_problems(open_job), status_of(open_job)
        if as_json:
            print_json({"event": "verified", "checked": job_status.done_count, "problems": problems})
        else:
            for problem in problems:
                print_line(problem)
            result = format_count(len(problems), "problem") if problems else "every file is as it was written"
            print_line(f"{job_status.done_count} of {job_status.frame_count} frames are painted; {result}")
        if problems:
            differ = "1 file differs" if len(problems) == 1 else f"{len(problems)} files differ"
            raise JobError(
                f"{differ} from what the job wrote: impasto resume {short_path(job)} repairs what it can; first move "
                "away files that you changed yourself"
            )


def clean(
    context: typer.Context,
    job: JobArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; report what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the intermediate files of a finished job: video frames, drafts, flow. The output stays."""
    with session(context, as_json=as_json):
        from ..job.cleaning import clean_job, disposable_files
        from ..job.job import Job

        with Job.read(job) if dry_run else Job.open(job) as open_job:
            paths = disposable_files(open_job)
            size = sum(path.lstat().st_size for path in paths)
            if not dry_run:
                clean_job(open_job, paths)
        if as_json:
            print_json({"event": "cleaned", "files": len(paths), "bytes": size, "dry_run": dry_run})
        else:
            action = "would remove" if dry_run else "removed"
            print_line(f"{action} {format_count(len(paths), 'file')} ({format_bytes(size)}) from {short_path(job)}")
