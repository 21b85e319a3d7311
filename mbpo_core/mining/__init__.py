"""Miners: how a negative image is made."""
