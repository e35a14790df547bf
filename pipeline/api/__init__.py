"""The Python API: what `import impasto` offers to scripts and notebooks.

Paths, pictures, names of presets and settings by dotted keys go in; arrays, records and numbers come out. `pictures`
works in memory; `jobs` and `measuring` do what the commands of the same names do, and their files are interchangeable
with those of the command line. `arguments` turns what a caller gives into what the pipeline takes.

Conventions: paths may be strings or `os.PathLike`; `on_event` is called with each record of `impasto.events`; failures
are raised as the exceptions of `impasto.errors`. Ctrl-C (`KeyboardInterrupt`) and every other exception leave a job
that resumes. torch and OpenCV are imported by the functions that need them.
"""
