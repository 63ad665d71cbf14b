"""UniVTG (Lin, Zhang, Chen, Pramanick, Gao, Wang, Yan, Shou, ICCV 2023)."""
