"""Djaffar: keeps track of what your users do, even when they don't hit the server.

Imports neither Django nor a database: ``python -m djaffar`` runs the server from here.
"""

from djaffar._djaffar import __version__

__all__ = ["__version__"]
