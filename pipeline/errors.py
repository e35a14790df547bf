"""The exceptions that impasto raises, as one tree, with the exit code that the command line returns for each.

    ImpastoError                    exit code 1
    ├── UsageError                  2   the request cannot be carried out as it is
    │   ├── SettingsError           2   a setting is unknown, of the wrong type or out of range
    │   ├── InputError              2   content or style is missing, unreadable or unsuitable
    │   ├── WeightsError            2   network weights are missing, corrupted or of another network
    │   ├── DeviceError             2   the device does not exist on this machine
    │   ├── OutputError             2   the output exists, or cannot be written at its path
    │   └── JobMismatchError        2   the folder holds a job with other settings or content
    ├── JobError                    1   the job's folder cannot be used
    │   └── JobLockedError          1   another process owns the job
    ├── FrameError                  1   one frame could not be painted; the rest of the job can go on
    │   ├── OutOfMemoryError        1   the device has too little memory for it
    │   └── WorkerLostError         1   the process that painted it crashed or was killed
    ├── MediaError                  1   a video could not be written
    ├── StorageError                1   the disk is full, read-only or failing
    ├── PartialError                3   the job ran to its end, but some frames failed
    └── Interrupted                 130 stopped by the user; the job can be resumed

A message is one line: what was wrong, the value, the remedy. Exceptions of other libraries are translated where the
library is called.
"""


class ImpastoError(Exception):
    """Base class; `exit_code` is the exit code of the command line."""

    exit_code = 1


class UsageError(ImpastoError):
    """The request cannot be carried out as it is."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, of the wrong type or out of range."""


class InputError(UsageError):
    """Content or style is missing, unreadable or unsuitable."""


class WeightsError(UsageError):
    """Network weights are missing, corrupted or of another network."""


class DeviceError(UsageError):
    """The device does not exist on this machine."""


class OutputError(UsageError):
    """The output exists already, or cannot be written at its path."""


class JobMismatchError(UsageError):
    """The folder holds a job with other settings or content.

    `differences` has one line per field: its name, the job's value, the requested value.
    """

    def __init__(self, message: str, differences: list[str]) -> None:
        super().__init__(message)
        self.differences = differences


class JobError(ImpastoError):
    """The job's folder cannot be used."""


class JobLockedError(JobError):
    """Another process owns the job."""


class FrameError(ImpastoError):
    """One frame could not be painted; the rest of the job can go on."""


class OutOfMemoryError(FrameError):
    """The device has too little memory for a frame."""


class WorkerLostError(FrameError):
    """The process that painted a frame crashed or was killed."""


class MediaError(ImpastoError):
    """A video could not be written."""


class StorageError(ImpastoError):
    """The disk is full, read-only or failing."""


class PartialError(ImpastoError):
    """The job ran to its end, but some frames failed; the rest of the output is written."""

    exit_code = 3


class Interrupted(ImpastoError):  # noqa: N818  (the user asked for it)
    """Stopped by the user; the job can be resumed."""

    exit_code = 130
