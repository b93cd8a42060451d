"""Masks of this protocol: at the source, in results, and in what the server says."""
