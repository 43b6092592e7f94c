"""A router that keeps the history in a database of its own."""


class Apart:
    def db_for_read(self, model, **hints):
        return "history" if model._meta.app_label == "djaffar" else "default"

    db_for_write = db_for_read

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return (db == "history") == (app_label == "djaffar")


class OnlyOurs:
    """As Django's documentation writes routers: of other apps it says nothing."""

    def db_for_read(self, model, **hints):
        return "history" if model._meta.app_label == "djaffar" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "history") == (app_label == "djaffar")
