"""Labelled scans on disk, an open scan to download, and synthetic ones."""

from gmseg.datasets.sample import fetch_sample as fetch_sample
