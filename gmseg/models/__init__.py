"""Models on disk: find, load, download, import and export them."""
