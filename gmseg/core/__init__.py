"""The paper: network, resampling, windows, standardisation, and the pipeline that joins them."""
