"""SA-DETR, in the order of the paper's section 3: aligner, enhance, initializer, refiner, model."""
