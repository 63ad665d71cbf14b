"""UVCOM (Xiao, Luo, Liu, Ma, Bian, Ji, Yang, Li, CVPR 2024)."""
