"""Commands of `mbpo eval`."""
