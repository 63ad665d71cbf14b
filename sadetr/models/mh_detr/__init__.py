"""MH-DETR (Xu, Sun, Li, Shi, Zhu, Du, arXiv 2305.00355)."""
