"""TODO: job."""
