"""The ablations of the MBPO paper on the embedded world: rows, runs, paired statistics, claims."""
