"""impasto's engine: everything that paints, reads, writes and remembers.

Nothing in here prints. Progress leaves as the records of `pipeline.events`, failures as the
exceptions of `pipeline.errors`, and the command line in `cli` is one client among others.
"""

__version__ = "0.1.0"
