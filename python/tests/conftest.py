"""What the tests of the Django app have in common."""

import json
import os
from pathlib import Path

import forked
import pytest
from serving import Site

# An installed package brings it as a plugin; the tests run on the sources.
pytest_plugins = ["djaffar.pytest_plugin"]

ROOT = Path(__file__).parents[2]
DATE = "2016-12-29T07:35:22.571Z"


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        forked.begin()


def pytest_unconfigure(config):
    forked.end()


# They take longest, by waiting or on one processor.
LONG = (
    "test_a_new_secret_key_counts",
    "test_package.py",
    "test_growing.py",
    "test_serve_databases.py",
)


def pytest_collection_modifyitems(items):
    """Nothing waits for the longest at the end."""
    items.sort(key=lambda item: not any(part in item.nodeid for part in LONG))


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        terminalreporter.write_line(f"SKIPPED: {report.nodeid}: {reason}")


@pytest.fixture(scope="session", autouse=True)
def shared(tmp_path_factory):
    """Where all workers find what the first one makes."""
    folder = tmp_path_factory.getbasetemp()
    Site.shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture
def post(client):
    """Posts an activity that must be taken."""

    def post(path="/", **fields):
        headers = fields.pop("headers", {})
        data = {"date": DATE, "path": path, **fields}
        answer = client.post("/djaffar/log/", data, headers=headers)
        assert answer.status_code == 204, answer.content
        return answer

    return post


@pytest.fixture
def post_json(client):
    def post(value, **options):
        options.setdefault("content_type", "application/json")
        return client.post("/djaffar/log/", json.dumps(value), **options)

    return post


@pytest.fixture
def jeff(django_user_model):
    name = django_user_model.USERNAME_FIELD
    return (
        django_user_model.objects.create_user("jeff@example.com", password="pw")
        if (name != "username")
        else django_user_model.objects.create_user("jeff", password="pw")
    )
