"""2D-TAN (Zhang, Peng, Fu, Luo, AAAI 2020)."""
