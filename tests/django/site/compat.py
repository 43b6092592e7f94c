"""An app without models: lets the oldest Djangos migrate on the SQLite of today."""

import django

if django.VERSION < (2, 2):
    from django.db.backends.signals import connection_created

    def keep_references(connection, **kwargs):
        # SQLite 3.26 and newer rename tables in foreign keys too, which these do not expect.
        connection.cursor().execute("PRAGMA legacy_alter_table = ON")

    connection_created.connect(keep_references)
