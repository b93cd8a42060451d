"""Rewriting statements so that what they read is masked where it is read."""
