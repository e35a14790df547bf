"""What forked runs find ready: imported and loaded once, in the server that they are forked from, and nowhere else."""

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401

import impasto.cli.main  # noqa: F401
from impasto.paint import encoder_weights
from impasto.paint.encoder_weights import load_weights

_bundled = load_weights("bundled")
encoder_weights.load_weights = lambda name: _bundled if name == "bundled" else load_weights(name)
