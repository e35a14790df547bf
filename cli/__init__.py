"""The command line: commands, options, views and output. It calls the pipeline and has no logic of its own.

Command line in; on stdout results (JSON with `--json`), on stderr progress and errors, and an exit code. Heavy
libraries are imported by the commands that need them: help, `status` and the like start without torch.
"""
