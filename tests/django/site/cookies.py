"""Sessions of every kind, and what this Django thinks of cookies. For every Django from 1.8 on.

make(): prints the cookies of sessions that it makes, as JSON.
judge(): reads what stood after `sessionid=` in cookies, a JSON list, from the file COOKIES; prints
for each whether the session counts and who is logged in.
"""

import base64
import datetime
import hashlib
import hmac
import io
import json
import os
import sys
import time
from importlib import import_module

import django
from django.conf import settings
from django.contrib import auth
from django.contrib.auth import get_user, get_user_model
from django.http.cookie import parse_cookie
from django.utils import timezone

BACKEND = "django.contrib.auth.backends.ModelBackend"
ENGINE = settings.SESSION_ENGINE.rsplit(".", 1)[-1]
COOKIE = ENGINE == "signed_cookies"


def new_store(key=None):
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


class Request(object):
    def __init__(self, session):
        self.session = session
        self.META = {}
        self.user = None


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def salted(digest, salt, value, secret):
    key = hashlib.new(digest, (salt + secret).encode()).digest()
    return hmac.new(key, value, getattr(hashlib, digest))


def dumps(digest, salt, data, secret, age=0):
    """signing.dumps of any Django, with this hash."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    stamp, rest = "", int(time.time()) - age
    while rest:
        stamp, rest = digits[rest % 62] + stamp, rest // 62
    value = "%s:%s" % (b64(json.dumps(data).encode()), stamp)
    return value + ":" + b64(salted(digest, salt + "signer", value.encode(), secret).digest())


def legacy(data, secret):
    """SessionBase._legacy_encode."""
    data = json.dumps(data).encode()
    mac = salted("sha1", "django.contrib.sessionsSessionStore", data, secret).hexdigest()
    return base64.b64encode(mac.encode() + b":" + data).decode()


def login_data(user, digest="sha256", password=None, secret=None):
    salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
    value = (password or user.password).encode()
    mac = salted(digest, salt, value, secret or settings.SECRET_KEY)
    return {
        "_auth_user_id": str(user.pk),
        "_auth_user_backend": BACKEND,
        "_auth_user_hash": mac.hexdigest(),
    }


def save(data, login=None, expiry=None):
    store = new_store()
    for name, value in data.items():
        store[name] = value
    if login:
        user = get_user_model().objects.get(username=login)
        user.backend = BACKEND
        request = Request(store)
        auth.login(request, user)
        store = request.session
    if expiry is not None:
        store.set_expiry(expiry)
    store.save()
    return store.session_key


def raw(text, expired=False):
    """A session whose data is this text, as another Django may have left it."""
    if COOKIE:
        return text
    key = "raw%029d" % raw.count
    raw.count += 1
    if ENGINE in ("db", "cached_db"):
        from django.contrib.sessions.models import Session

        end = timezone.now() + datetime.timedelta(days=-1 if expired else 1)
        Session.objects.create(session_key=key, session_data=text, expire_date=end)
        return key
    if ENGINE == "file":
        path = os.path.join(settings.SESSION_FILE_PATH, settings.SESSION_COOKIE_NAME + key)
        with io.open(path, "w") as file:
            file.write(u"" + text)
        if expired:
            os.utime(path, (1, 1))
        return key
    return None


raw.count = 0


def is_base64(text):
    try:
        base64.b64decode(text.encode())
        return True
    except (TypeError, ValueError):
        return False


def make():
    users = {user.username: user for user in get_user_model().objects.all()}
    alice, secret = users["alice"], settings.SECRET_KEY
    salt = "django.contrib.sessions.backends.signed_cookies"
    if not COOKIE:
        salt = "django.contrib.sessions.SessionStore"
    cookies = [save({"cart": 1}), save({}, "alice"), save({"big": u"\xe9" * 3000}, "bob")]
    cookies += [save({"n": n}, name) for n in range(6) for name in ("carol", "dave", "erin")]
    cookies += [save({"a": 1}, "alice", 3600), save({"a": 1}, "bob", 0)]
    one, deep = {"djaffar_visitor": "a" * 32}, {"x": [1, {"y": [None, 1.5, "z"]}]}
    cookies += [save(one, "carol"), save(deep, "alice"), save(one)]
    wrong = dict(login_data(alice), _auth_user_hash="0" * 64)
    no_hash = {k: v for k, v in login_data(alice).items() if k != "_auth_user_hash"}
    other = dict(login_data(alice), _auth_user_backend="shop.Backend")
    gone = dict(login_data(alice), _auth_user_id="999")
    for data in (wrong, no_hash, other, gone, login_data(alice, password="old")):
        cookies.append(save(data))
    # In the formats of all Djangos, whichever this one is.
    texts = []
    for digest in ("sha1", "sha256"):
        for data in ({}, {"a": 1}, login_data(alice, "sha1"), login_data(alice, "sha256")):
            texts.append(dumps(digest, salt, data, secret))
            texts.append(dumps(digest, "another", data, secret))
            texts.append(dumps(digest, salt, data, "another"))
    for data in ({}, {"a": 1}, login_data(alice, "sha1"), login_data(alice, "sha256")):
        texts.append(legacy(data, secret))
        texts.append(legacy(data, "another"))
    for fallback in getattr(settings, "SECRET_KEY_FALLBACKS", []):
        texts.append(dumps("sha256", salt, login_data(alice), fallback))
        texts.append(dumps("sha256", salt, login_data(alice, secret=fallback), fallback))
        texts.append(dumps("sha256", salt, login_data(alice, secret=fallback), secret))
    month = 31 * 24 * 3600
    texts.append(dumps("sha1", salt, login_data(alice, "sha1"), secret, age=month))
    texts.append(dumps("sha256", salt, login_data(alice), secret, age=month))
    texts += ["nonsense", "e30:1:A", "e30="]
    if django.VERSION < (3, 1) and not COOKIE:
        # These Djangos fail (500) on what is no base64.
        texts = [text for text in texts if is_base64(text)]
    cookies += [raw(text) for text in texts]
    # Of a file, Django 1.8 compares the age with itself: it never ends.
    if not COOKIE and (ENGINE != "file" or django.VERSION >= (1, 11)):
        cookies += [raw(text, expired=True) for text in texts[-12:]]
    if django.VERSION >= (1, 10):
        # Older ones go on taking a user who may not log in any more; Djaffar never does.
        erin = users["erin"]
        erin.is_active = False
        erin.save()
    print(json.dumps([cookie for cookie in cookies if cookie]))


def judge():
    with io.open(os.environ["COOKIES"], encoding="ascii") as file:
        cookies = json.load(file)
    keys = [parse_cookie(str("sessionid=" + cookie)).get("sessionid") for cookie in cookies]
    verdicts, users = [], {}
    for key in keys:
        session = new_store(key)
        try:
            session._get_session()
        except Exception:
            # With PickleSerializer some Djangos fail (500) on what is no pickle: all that it says
            # then is that nobody is logged in.
            verdicts.append([None, None])
            continue
        counts = key and session.session_key == key and not (COOKIE and session.modified)
        verdicts.append([bool(counts), None])
        if auth.SESSION_KEY not in session:
            users[key] = None
    # Apart and once for each, for this deletes sessions whose login does not count any more, and
    # gives those another key that were signed with a fallback.
    for key, verdict in zip(keys, verdicts):
        if key not in users:
            try:
                users[key] = get_user(Request(new_store(key))).pk
            except Exception:
                users[key] = None
        verdict[1] = users[key]
    print(json.dumps(verdicts))
    sys.stdout.flush()
