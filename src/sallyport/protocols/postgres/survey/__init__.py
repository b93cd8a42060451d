"""Surveys of a PostgreSQL target: what should be masked, and what stands round the masks."""
