"""HTTP: heads are parsed and written anew, each request is an operation, bodies are masked."""
