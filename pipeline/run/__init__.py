"""TODO: run."""
