"""Recipes, one file per published method; presets; offline problem generators. See ``selfimprove recipes ls``."""
