"""Read and write images, tables and other files."""
