"""TODO: motion."""
