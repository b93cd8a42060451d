"""Documents: masks in HTTP responses, in bodies as they stream and in header fields."""
