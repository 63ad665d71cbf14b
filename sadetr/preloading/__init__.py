"""Jobs of one Snakemake served by a process that has imported everything once: start-up costs them a fork."""
