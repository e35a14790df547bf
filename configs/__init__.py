"""The presets of impasto, a YAML file each."""
