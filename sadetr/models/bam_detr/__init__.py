"""BAM-DETR (Lee, Byun, ECCV 2024)."""
