"""Users by another name, as a proxy of Django's."""
