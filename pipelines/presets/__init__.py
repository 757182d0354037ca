"""Presets: YAML files that reproduce a paper or fit a machine. See ``selfimprove config show quickstart``."""
