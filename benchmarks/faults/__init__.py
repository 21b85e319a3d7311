"""Faults on purpose: everything that can end or spoil a run, and what is left of the results."""
