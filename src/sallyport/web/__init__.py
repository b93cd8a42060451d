"""The HTTP API of the control process: routes under `/api/v1`, health, readiness and metrics."""
