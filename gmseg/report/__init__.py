"""Show segmentations: QC page, figures, movie, and a viewer for notebooks."""
