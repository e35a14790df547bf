"""The command line of impasto."""
