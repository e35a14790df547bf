"""A job from end to end: a `Request` goes in, its output and a `JobDone` come out.

`job_run` tells the story: plan or reopen the job, `reconcile` its store with its files, paint, assemble, compare, sum
up. `frame_loop` hands the frames to an executor; `frame_links` says which frames each is started from and compared
with, and `frame_tasks` makes a task of it; `picture_writer` saves what comes back and records it. Executors are
`inline`, `processes` and `ray_executor`; a `worker` paints for each of them.
"""
