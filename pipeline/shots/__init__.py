"""TODO: shots."""
