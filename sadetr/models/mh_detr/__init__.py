"""MH-DETR (Xu, Sun, Zhai, Li, Liang, Li, Du, IJCNN 2024)."""
