"""A user with a UUID, and one with a key that is text, in other tables and with other names."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class Manager(BaseUserManager):
    def create_user(self, name, password=None, **fields):
        user = self.model(**{self.model.USERNAME_FIELD: name}, **fields)
        user.set_password(password)
        user.save()
        return user


class UuidUser(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    groups = None
    user_permissions = None
    objects = Manager()
    USERNAME_FIELD = "email"

    class Meta:
        db_table = "members"


class TextUser(AbstractBaseUser):
    login = models.CharField(primary_key=True, max_length=60)
    objects = Manager()
    USERNAME_FIELD = "login"

    class Meta:
        db_table = "logins"
