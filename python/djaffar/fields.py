"""Relations of the activities to rows that may be gone, and indexes of what is there."""

from typing import TYPE_CHECKING, Any

from django.db import models, router
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor


def are_apart(model: type[models.Model], other: type[models.Model], using: str) -> bool:
    """Whether the rows of ``model`` that refer to those of ``other`` in the database ``using`` are
    in another one. Each database that has both tables refers to itself, whatever is routed.
    """
    return using == router.db_for_write(other) != router.db_for_write(model)


def set_null(collector: Any, field: Any, rows: Any, using: str) -> None:
    """``SET_NULL`` where the rows are in the same database; else :mod:`djaffar.visitors` does it,
    for a relation is looked for in the database of what is deleted.
    """
    if are_apart(field.model, field.remote_field.model, using):
        return
    if router.allow_migrate_model(using, field.model):
        models.SET_NULL(collector, field, rows, using)


set_null.lazy_sub_objs = True  # type: ignore[attr-defined]


class _ForwardOrNone(ForwardManyToOneDescriptor):
    """``None`` for a row that is gone, or was never there."""

    def get_queryset(self, *, instance: models.Model) -> models.QuerySet[Any]:
        rows = super().get_queryset(instance=instance)
        if instance._state.db == router.db_for_read(type(instance)):
            # Where a router says nothing of the other model, Django would look beside the history.
            rows = rows.using(router.db_for_read(rows.model))
        return rows

    def get_prefetch_querysets(self, instances: Any, querysets: Any = None) -> Any:
        # Before 6.1 Django asks for the rows without an instance here.
        found = querysets or [self.get_queryset(instance=instances[0])]
        return super().get_prefetch_querysets(instances, found)

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        try:
            return super().__get__(instance, cls)
        except self.field.remote_field.model.DoesNotExist:
            self.field.set_cached_value(instance, None)
            return None


class HistoricalForeignKey(models.ForeignKey):
    """A foreign key without a constraint and without an index of its own.

    History outlives what it refers to: the key stays, and the object is ``None`` when it is gone.
    """

    forward_related_accessor_class = _ForwardOrNone

    def __init__(self, to: Any, on_delete: Any, **options: Any) -> None:
        options.setdefault("null", True)
        options.setdefault("blank", True)
        options.setdefault("db_constraint", False)
        options.setdefault("db_index", False)
        super().__init__(to, on_delete, **options)

    def deconstruct(self) -> Any:
        name, _, args, options = super().deconstruct()
        if options["on_delete"] is set_null:
            options["on_delete"] = models.SET_NULL
        # For migrations it is an ordinary one, all of whose options are said.
        return name, "django.db.models.ForeignKey", args, options


class HistoricalOneToOneField(models.OneToOneField):
    """A key of its own which is that of a row that may be gone: the object is ``None`` then."""

    forward_related_accessor_class = _ForwardOrNone

    def deconstruct(self) -> Any:
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.OneToOneField", args, options


if TYPE_CHECKING:
    # A checker of types knows what relations of Django's own classes lead to.
    HistoricalRelation = models.ForeignObject
else:

    class HistoricalRelation(models.ForeignObject):
        """A row that is found by columns of other fields; ``None`` where there is none."""

        forward_related_accessor_class = _ForwardOrNone
        # Django asks each relation that is taken away.
        db_constraint = False


class _WherePresent:
    """Leaves the condition out where the database has none (MySQL): there nulls do no harm."""

    def _at(self, connection: Any) -> Any:
        if connection.features.supports_partial_indexes:
            return self
        _, args, options = self.deconstruct()  # type: ignore[attr-defined]
        options["condition"] = None
        return type(self)(*args, **options)

    def check(self, model: Any, connection: Any) -> list[Any]:
        # Only the warning that conditions are ignored.
        return []


class IndexWherePresent(_WherePresent, models.Index):
    """An index of the rows that have a value."""

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **options: Any) -> Any:
        index = self._at(schema_editor.connection)
        return models.Index.create_sql(index, model, schema_editor, using, **options)


class IndexByRows(IndexWherePresent):
    """An index of values that come in at random: users, sessions.

    On SQLite each 65,536 rows have a part of it to themselves, so that a batch changes few of its
    pages (migrations/sqlite/0001_djaffar.sql says more), and only the first field is in it.
    """

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **options: Any) -> Any:
        if schema_editor.connection.vendor != "sqlite":
            return super().create_sql(model, schema_editor, using, **options)
        rows = models.F("id").bitrightshift(16)
        index = models.Index(rows, self.fields[0], name=self.name, condition=self.condition)
        return index.create_sql(model, schema_editor, using, **options)


class UniqueWherePresent(_WherePresent, models.UniqueConstraint):
    """Uniqueness among the rows that have a value."""

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        constraint = self._at(schema_editor.connection)
        return models.UniqueConstraint.constraint_sql(constraint, model, schema_editor)

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        constraint = self._at(schema_editor.connection)
        return models.UniqueConstraint.create_sql(constraint, model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        constraint = self._at(schema_editor.connection)
        return models.UniqueConstraint.remove_sql(constraint, model, schema_editor)
