"""Serving: the part of HTTP that waits: both legs, sessions, and one request's way."""
