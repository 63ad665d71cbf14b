"""TR-DETR (Sun, Zhou, Chen, Xie, AAAI 2024)."""
