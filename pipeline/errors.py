"""Every failure that impasto reports, as one tree.

    ImpastoError                    exit code 1
    ├── UsageError                  2   what was asked for cannot be done as asked
    │   ├── SettingsError           2   a setting is unknown, of the wrong type or out of range
    │   ├── InputError              2   content or style is missing, unreadable or of no use
    │   ├── WeightsError            2   encoder weights are missing, corrupted or of another network
    │   ├── DeviceError             2   a device that this machine does not have
    │   ├── OutputError             2   the output exists, or cannot be where it is asked for
    │   └── JobMismatchError        2   a job with other settings or other content is there already
    ├── JobError                    1   the job's folder cannot be used
    │   └── JobLockedError          1   another process owns the job
    ├── FrameError                  1   one frame could not be painted; the rest of the job can go on
    │   ├── OutOfMemoryError        1   the memory of the device was too small for it
    │   └── WorkerLostError         1   the process that painted it came to its end
    ├── MediaError                  1   a video could not be written
    ├── StorageError                1   the disk is full, read-only or failing
    ├── PartialError                3   the job ran to its end, and some of its frames failed
    └── Interrupted                 130 stopped by the user; the job can be resumed

A message is one line: what was wrong, the value, and what to do about it. Exceptions of other
libraries are translated where the library is called, so that nothing above has to know it.
"""


class ImpastoError(Exception):
    """Base of all of them; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(ImpastoError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, of the wrong type or out of range."""


class InputError(UsageError):
    """Content or style is missing, unreadable or of no use."""


class WeightsError(UsageError):
    """Encoder weights are missing, corrupted or of another network."""


class DeviceError(UsageError):
    """A device was named that this machine does not have."""


class OutputError(UsageError):
    """The output exists already, or cannot be where it is asked for."""


class JobMismatchError(UsageError):
    """A job with other settings or other content is in the folder already.

    `differences` holds one line a field: name, what the job has, what was asked for.
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
    """The memory of the device was too small for a frame."""


class WorkerLostError(FrameError):
    """The process that painted a frame came to its end."""


class MediaError(ImpastoError):
    """A video could not be written."""


class StorageError(ImpastoError):
    """The disk is full, read-only or failing."""


class PartialError(ImpastoError):
    """The job ran to its end, and some of its frames failed."""

    exit_code = 3


class Interrupted(ImpastoError):  # noqa: N818  (it is the user's wish and no error)
    """Stopped by the user; the job can be resumed."""

    exit_code = 130
