"""The admin on a long history: by the plans of its queries, and by what SQLite does for each page."""

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.xdist_group("long history")]
ROWS = 300_000
# A year of activities of 100 users and nobody; one user comes once in 10,000 rows, one only long ago.
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)
INSERT INTO djaffar_activity
    (id, user_id, session_id, ip_address, date, path, referer, name, received_at)
SELECT i,
    CASE WHEN i %% 10000 = 0 THEN 1001 WHEN i < 50 THEN 1002 WHEN i %% 2 THEN 2 + i %% 100 END,
    printf('%%032d', i %% 20000), '127.0.0.1',
    strftime('%%Y-%%m-%%d %%H:%%M:%%f', %s, '-' || ((%s - i) * 105) || ' seconds'),
    CASE WHEN i < 20 THEN '/once' ELSE '/page/' || (i %% 5000) END, '',
    CASE WHEN i %% 100 = 0 THEN 'buy' ELSE '' END, '2026-01-01 00:00:00'
FROM n
"""
INFOS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
INSERT INTO djaffar_sessioninfo (session_id, user_agent, visitor, browser)
SELECT printf('%032d', i), 'Agent', printf('%032d', i / 2), CASE WHEN i % 3 THEN 'Firefox' END FROM n
"""
# Thousands of steps: a look at some ten thousand rows, and far from one at all of them.
MOST = 2_500
LIST = "/admin/djaffar/activity/"


@pytest.fixture(scope="module", autouse=True)
def history(django_db_setup, django_db_blocker):
    """Filled once, and undone when all tests are through."""
    numbers = [*range(2, 102), 1001, 1002]
    with django_db_blocker.unblock(), transaction.atomic():
        User.objects.bulk_create([User(pk=key, username=f"user-{key}") for key in numbers])
        with connection.cursor() as cursor:
            now = timezone.now().strftime("%Y-%m-%d %H:%M:%S")
            cursor.execute(FILL, [ROWS, now, ROWS])
            cursor.execute(INFOS)
            # As a connection does that was opened after the migration.
            cursor.execute("ANALYZE sqlite_schema")
        yield
        transaction.set_rollback(True)


class Work:
    """What SQLite does for a page: plans, and thousands of steps of its machine."""

    def __init__(self, client):
        self.client = client

    def of(self, url):
        thousands = 0

        def count():
            nonlocal thousands
            thousands += 1

        connection.connection.set_progress_handler(count, 1000)
        try:
            with CaptureQueriesContext(connection) as queries:
                answer = self.client.get(url)
        finally:
            connection.connection.set_progress_handler(None, 0)
        assert answer.status_code == 200
        self.ours = [query["sql"] for query in queries if 'FROM "djaffar_' in query["sql"]]
        return answer, len(queries), thousands

    def plans(self):
        with connection.cursor() as cursor:
            for sql in self.ours:
                cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"))
                yield sql, [row[3] for row in cursor.fetchall()]


PAGES = [
    (LIST, 100),
    (LIST + "?days=all", 100),
    (LIST + "?days=all&user=user-1001", 30),
    (LIST + "?days=all&user=user-1002", 49),
    (LIST + "?days=all&user=user-7", 100),
    (LIST + "?user=nobody", 0),
    (LIST + "?days=all&name=buy", 100),
    (LIST + "?days=all&name=unheard-of", 0),
    (LIST + "?days=all&path=/once", 0),
    (LIST + "?days=all&path=/page/77", 44),
    (LIST + "?days=365&browser=Firefox", 100),
    (LIST + "?days=365&browser=Unheard-of", 0),
    ("/admin/djaffar/sessioninfo/", 100),
    ("/admin/djaffar/sessioninfo/?visitor=00000000000000000000000000000007", 2),
]


def test_a_page_costs_the_same_however_long_the_history_is(admin_client):
    for url, count in PAGES:
        work = Work(admin_client)
        answer, queries, thousands = work.of(url)
        assert len(answer.context["cl"].result_list) == count, url
        assert queries <= 6
        assert thousands < MOST, (url, thousands)
        for sql, plan in work.plans():
            assert "COUNT(" not in sql.upper()
            scans = [step for step in plan if step.startswith("SCAN djaffar_activity")]
            assert not [step for step in scans if "INDEX" not in step], (sql, plan)


def test_the_timeline_of_a_user_is_read_by_the_index_of_users(admin_client):
    for user, count in [(1001, 30), (1002, 49), (7, 100)]:
        work = Work(admin_client)
        answer, _, thousands = work.of(f"/admin/auth/user/{user}/change/")
        [inline] = answer.context["inline_admin_formsets"]
        assert len(inline.formset.get_queryset()) == count
        assert thousands < MOST
        for sql, plan in work.plans():
            assert any("djaffar_activity_user" in step for step in plan), (sql, plan)


def test_what_is_not_among_the_latest_is_found_further_back(admin_client):
    url, pages = LIST + "?days=all&path=/once", 0
    assert "Look further" in admin_client.get(url).content.decode()
    while True:
        answer = admin_client.get(url)
        pages += 1
        if answer.context["cl"].result_list:
            break
        url = LIST + answer.context["cl"].following
    assert pages > 2
    assert len(answer.context["cl"].result_list) == 19
    assert "Look further" not in answer.content.decode()
