"""Objectives: how a ranked group becomes a loss."""
