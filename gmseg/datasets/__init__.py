"""Labelled scans on disk, and synthetic ones."""
