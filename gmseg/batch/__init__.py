"""Segment many scans: one after the other, in parallel, or as a BIDS App."""
