"""Benchmarks: each prints a line of figures and ratios measured side by side in one run."""
