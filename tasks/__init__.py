"""Stages: the only place where method and storage meet."""
