"""TODO: paint."""
