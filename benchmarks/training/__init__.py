"""One optimiser step of both trainers: the same groups, timed by phase, in a process each."""
