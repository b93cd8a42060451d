"""Measurements: direct, through pgbouncer and through the gateway, in one run, as ratios."""
