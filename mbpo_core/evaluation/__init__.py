"""Benchmarks and the statistics that go with them."""
