"""Segment a scan: localise the cord, run the network, judge the result."""
