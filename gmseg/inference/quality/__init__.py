"""Quality control: QC flags and the expected Dice of a segmentation."""
