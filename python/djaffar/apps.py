"""The app: what is connected when Django starts."""

from django.apps import AppConfig


class DjaffarConfig(AppConfig):
    name = "djaffar"
    verbose_name = "Djaffar"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth import get_user_model
        from django.contrib.auth.signals import user_logged_in
        from django.db.models.signals import post_delete, pre_save

        from djaffar import checks, visitors
        from djaffar.history import add_to_user
        from djaffar.models import SessionInfo

        checks.register()
        add_to_user()
        user_logged_in.connect(visitors.on_login, dispatch_uid="djaffar.visitor")
        # A user that is deleted by another name of the table (a proxy) is sent as one of these.
        # Without a sender, Django would fetch all rows of the site before it deletes them.
        users = get_user_model()._meta.concrete_model
        for model in self.apps.get_models():
            if model._meta.concrete_model is users:
                post_delete.connect(visitors.forget_user, model, dispatch_uid="djaffar.visitor")
        pre_save.connect(visitors.name_visitor, SessionInfo, dispatch_uid="djaffar.visitor")
