"""django-djaffar 0.1.10, see models.py."""
