"""Fixtures, and which tests run on which Django.

DJANGOS is a JSON list of what `run` has installed: version, python, packages.
"""

import fcntl
import json
import os
import shutil

import forked
import pytest
from live import PASSWORD, Django, Site

DJANGOS = [Django(**entry) for entry in json.loads(os.environ["DJANGOS"])]
USERS = ["alice", "bob", "carol", "dave", "erin"]


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        forked.begin()
    config.addinivalue_line("markers", "every_django: runs on old Djangos too")
    config.addinivalue_line("markers", "slow: waits long, so it begins first")
    config.addinivalue_line("markers", "newest_django: runs on the newest Django only")
    config.addinivalue_line("markers", "before_django_5: what Django 5.0 has dropped")
    config.addinivalue_line("markers", "older_apps: runs on Django 4.2, which has older plug-ins")


def pytest_unconfigure(config):
    forked.end()


def pytest_generate_tests(metafunc):
    if "django" not in metafunc.fixturenames:
        return
    chosen = [django for django in DJANGOS if django.number >= (5, 2)]
    if metafunc.definition.get_closest_marker("every_django"):
        chosen = DJANGOS
    if metafunc.definition.get_closest_marker("newest_django"):
        chosen = [max(DJANGOS, key=lambda django: django.number)]
    if metafunc.definition.get_closest_marker("older_apps"):
        chosen = [django for django in DJANGOS if django.number[:2] == (4, 2)]
    if metafunc.definition.get_closest_marker("before_django_5"):
        chosen = [django for django in DJANGOS if django.number < (5, 0)]
    names = ["Django %s" % django.version for django in chosen]
    metafunc.parametrize("django", chosen, ids=names, scope="session")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        terminalreporter.write_line("SKIPPED: %s: %s" % (report.nodeid, reason))


def template(django, shared):
    """A migrated database with five users, made once for all workers."""
    folder = shared / ("template-" + django.version)
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            site = Site(django, folder)
            site.manage("migrate", "--noinput", "-v0")
            site.djaffar("migrate", "--database", site.database_url)
            script = "from django.contrib.auth.models import User\nfor name in %r: %s" % (
                USERS,
                "User.objects.create_superuser(name, name + '@example.com', %r)" % PASSWORD,
            )
            site.manage("script", SITE_SCRIPT=script)
            (folder / "done").touch()
    return folder / "db.sqlite3"


@pytest.fixture
def make_site(django, tmp_path, tmp_path_factory):
    """Makes the folder of a site, with a migrated database unless it is to be empty."""
    sites = []
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent

    def make(settings=None, empty=False):
        folder = tmp_path / ("site-%d" % len(sites))
        folder.mkdir()
        site = Site(django, folder, settings)
        if not empty:
            shutil.copy(template(django, shared), site.database)
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(make_site):
    """Django and Djaffar, both running, with Django's usual settings."""
    site = make_site()
    site.serve()
    site.serve_djaffar()
    return site
