"""A pipeline small enough to start server, runner and runs in a test."""
