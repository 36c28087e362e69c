"""Reproduce the paper: its table and its figures."""
