"""Show segmentations: QC page, overlays, movie, viewer."""
