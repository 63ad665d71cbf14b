"""CG-DETR (Moon, Hyun, Lee, Heo, 2023)."""
