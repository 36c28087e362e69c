"""Measure masks: areas per slice and level, horns, volumes."""
