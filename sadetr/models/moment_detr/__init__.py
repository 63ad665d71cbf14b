"""Moment-DETR (Lei, Berg, Bansal, NeurIPS 2021)."""
