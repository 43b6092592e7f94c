"""Users of other kinds: a UUID, a text and a number as key, in other tables, under other names."""

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


class OddUser(AbstractBaseUser):
    number = models.AutoField(primary_key=True, db_column="person no")
    name = models.CharField(max_length=60, unique=True)
    password = models.CharField(max_length=128, db_column="secret")
    is_active = models.BooleanField(default=True, db_column="may_log_in")
    objects = Manager()
    USERNAME_FIELD = "name"

    class Meta:
        db_table = "Odd people"


class HashedUser(AbstractBaseUser):
    name = models.CharField(max_length=60, unique=True)
    objects = Manager()
    USERNAME_FIELD = "name"

    def get_session_auth_hash(self):
        return "of its own"
