"""A session engine of the site's own."""

from django.contrib.sessions.backends.db import SessionStore

__all__ = ["SessionStore"]
