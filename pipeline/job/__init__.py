"""The job folder beside an output: the work to do and its progress.

A plan's frames go in, and each frame's state, hash, losses and sources as it is painted. Out come the frames that are
still to be painted, the status, the problems that verification finds, and the certainty that one process at a time
works on the job and that a crash, at any moment, loses at most the frames in flight. `records` says when a frame counts
as done; `job.Job` is the open folder; `schema`, `store`, `integrity` and `repair` are the SQLite file below it.
"""
