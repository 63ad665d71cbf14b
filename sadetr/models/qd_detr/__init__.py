"""QD-DETR (Moon, Hyun, Park, Park, Heo, CVPR 2023)."""
