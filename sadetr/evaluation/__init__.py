"""The scorer: metrics of moment retrieval and highlight detection from prediction files. float64, no torch."""
