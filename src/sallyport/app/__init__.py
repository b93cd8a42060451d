"""App: the one package that knows everything, and puts the processes together."""

from sallyport.app.serve import serve

__all__ = ["serve"]
