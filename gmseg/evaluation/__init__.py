"""Compare masks with references."""
