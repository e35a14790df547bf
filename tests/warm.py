"""What forked runs find ready: imported and loaded once, in the server that they are forked from, and nowhere else."""

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401

import cli.main  # noqa: F401
from pipeline import report, run  # noqa: F401
from pipeline.encoder import load_weights

_bundled = load_weights("bundled")
run.load_weights = lambda name: _bundled if name == "bundled" else load_weights(name)
