"""0.1.10's tables become ours, in place and with every row.

History is cut loose from sessions and users (no constraints, and no deletion along with them),
paths and referers may be longer, and what is new gets its columns.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Left, Length

import djaffar.fields


def drop_indexes_of_relations(apps, schema_editor):
    """Drops the indexes of the former foreign keys that Django, going by their names, has missed.

    Names that an old Django gave, and those that MySQL makes by itself; backwards those that Django
    makes on MySQL when it takes ours away.
    """
    table = "djaffar_activity"
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    for name, constraint in found.items():
        plain = constraint["index"] and not constraint["unique"] and not constraint["primary_key"]
        if plain and constraint["columns"] in (["user_id"], ["session_id"]):
            index = models.Index(name=name, fields=["id"])
            schema_editor.remove_index(apps.get_model("djaffar", "Activity"), index)


def name_visitors(apps, schema_editor):
    """Before, a session was a visitor."""
    infos = apps.get_model("djaffar", "SessionInfo").objects.using(schema_editor.connection.alias)
    infos.filter(visitor="").update(visitor=models.F("session_id"))


def as_0_1_10_had_them(apps, schema_editor):
    """Backwards: what its constraints and lengths do not allow. No activity is lost.

    They lose sessions and users that are gone, and what is over the length of a column.
    """
    alias = schema_editor.connection.alias
    activities = apps.get_model("djaffar", "Activity").objects.using(alias)
    infos = apps.get_model("djaffar", "SessionInfo").objects.using(alias)
    sessions = apps.get_model("sessions", "Session").objects.using(alias)
    users = apps.get_model(settings.AUTH_USER_MODEL).objects.using(alias)
    of_session = sessions.filter(pk=models.OuterRef("session_id"))
    of_user = users.filter(pk=models.OuterRef("user_id"))
    infos.filter(~models.Exists(of_session)).delete()
    activities.exclude(session=None).filter(~models.Exists(of_session)).update(session=None)
    activities.exclude(user=None).filter(~models.Exists(of_user)).update(user=None)
    for rows, name, length in [
        (activities, "path", 1000),
        (activities, "referer", 160),
        (infos, "user_agent", 1000),
    ]:
        long = rows.annotate(length=Length(name)).filter(length__gt=length)
        long.update(**{name: Left(name, length)})


def know_the_indexes(apps, schema_editor):
    """Tells SQLite how many rows share a value, as migrations/sqlite/0001_djaffar.sql does.

    Without that it does not look into each part of an index by rows, and reads the whole table.
    """
    if schema_editor.connection.vendor != "sqlite":
        return
    table = "djaffar_activity"
    with schema_editor.connection.cursor() as cursor:
        # Makes the table of the statistics.
        cursor.execute(f'ANALYZE "{table}"')
        cursor.execute("DELETE FROM sqlite_stat1 WHERE tbl = %s", [table])
        cursor.executemany(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (%s, %s, %s)",
            [
                (table, "djaffar_activity_date", "1000000 1"),
                (table, "djaffar_activity_user", "1000000 65536 20"),
                (table, "djaffar_activity_session", "1000000 65536 5"),
                (table, "djaffar_activity_event_id", "1000000 1"),
            ],
        )


# For routers that decide by the model.
OURS = {"model_name": "activity"}


class Migration(migrations.Migration):
    dependencies = [
        ("djaffar", "0001_initial"),
        ("sessions", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # --- Cut loose
        migrations.AlterField(
            model_name="activity",
            name="session",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                to="sessions.session",
            ),
        ),
        migrations.AlterField(
            model_name="activity",
            name="user",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="sessioninfo",
            name="session",
            field=models.OneToOneField(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                primary_key=True,
                serialize=False,
                to="sessions.session",
            ),
        ),
        migrations.RunPython(
            drop_indexes_of_relations,
            drop_indexes_of_relations,
            # MySQL drops nothing within a transaction.
            atomic=False,
            hints=OURS,
        ),
        # --- Longer
        migrations.AlterField(
            model_name="activity",
            name="id",
            field=models.BigAutoField(primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name="activity",
            name="ip_address",
            field=models.CharField(default="", max_length=45, verbose_name="IP address"),
        ),
        migrations.AlterField(
            model_name="activity",
            name="path",
            field=models.CharField(max_length=2000),
        ),
        migrations.AlterField(
            model_name="activity",
            name="referer",
            field=models.CharField(blank=True, default="", max_length=2000),
        ),
        migrations.AlterField(
            model_name="sessioninfo",
            name="user_agent",
            field=models.CharField(blank=True, default="", max_length=1000),
        ),
        # --- New
        migrations.CreateModel(
            name="SpoolCursor",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "spool",
                        "segment",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("spool", models.UUIDField()),
                ("segment", models.UUIDField()),
                ("position", models.BigIntegerField()),
            ],
            options={
                "db_table": "djaffar_spool_cursor",
            },
        ),
        migrations.AddField(
            model_name="activity",
            name="event_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="activity",
            name="info",
            field=djaffar.fields.HistoricalRelation(
                editable=False,
                from_fields=["session"],
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="activities",
                serialize=False,
                to="djaffar.sessioninfo",
                to_fields=["session"],
            ),
        ),
        migrations.AddField(
            model_name="activity",
            name="name",
            field=models.CharField(blank=True, default="", max_length=100),
        ),
        migrations.AddField(
            model_name="activity",
            name="properties",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="activity",
            name="received_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="bot",
            field=models.BooleanField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="browser",
            field=models.CharField(blank=True, max_length=50, null=True),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="country",
            field=models.CharField(blank=True, max_length=2, null=True),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="created_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="device",
            field=models.CharField(blank=True, max_length=50, null=True),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="os",
            field=models.CharField(
                blank=True, max_length=50, null=True, verbose_name="operating system"
            ),
        ),
        migrations.AddField(
            model_name="sessioninfo",
            name="visitor",
            field=models.CharField(blank=True, default="", max_length=40),
        ),
        migrations.AlterModelOptions(
            name="activity",
            options={"verbose_name_plural": "activities"},
        ),
        migrations.AlterModelOptions(
            name="sessioninfo",
            options={"verbose_name": "session info"},
        ),
        migrations.RunPython(name_visitors, as_0_1_10_had_them, hints=OURS),
        # --- Indexes
        migrations.AddIndex(
            model_name="activity",
            index=models.Index(fields=["date"], name="djaffar_activity_date"),
        ),
        migrations.AddIndex(
            model_name="activity",
            index=djaffar.fields.IndexByRows(
                condition=models.Q(("user__isnull", False)),
                fields=["user", "date"],
                name="djaffar_activity_user",
            ),
        ),
        migrations.AddIndex(
            model_name="activity",
            index=djaffar.fields.IndexByRows(
                condition=models.Q(("session__isnull", False)),
                fields=["session"],
                name="djaffar_activity_session",
            ),
        ),
        migrations.AddConstraint(
            model_name="activity",
            constraint=djaffar.fields.UniqueWherePresent(
                condition=models.Q(("event_id__isnull", False)),
                fields=("event_id",),
                name="djaffar_activity_event_id",
            ),
        ),
        migrations.RunPython(know_the_indexes, migrations.RunPython.noop, hints=OURS),
    ]
