"""Tokens of Django REST framework, made by it, and judged as it judges them."""

import pytest


@pytest.fixture
def tokens(site):
    made = {}
    for name in ["alice", "dave"]:
        text = site.manage("drf_create_token", name).decode()
        made[name] = text.split()[2]
    site.browser().get("/deactivate/dave/")
    return made


def test_a_token_names_its_user(site, tokens):
    headers = {"Authorization": "Token " + tokens["alice"]}
    assert site.browser().log("/token", headers=headers).status_code == 204
    assert site.activity("/token")["user_id"] == site.user("alice")
    assert site.browser().post("/whoami/", headers=headers).json()["user"] == site.user("alice")


@pytest.mark.parametrize(
    "header",
    ["Token 0123456789abcdef0123456789abcdef01234567", "Token", "Token a b", "token inactive"],
)
def test_a_token_that_django_rest_framework_refuses_gets_its_answer(site, tokens, header):
    headers = {"Authorization": header.replace("inactive", tokens["dave"])}
    ours = site.browser().log("/refused", headers=headers)
    theirs = site.browser().post("/whoami/", headers=headers)
    assert theirs.status_code == 401
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
    assert ours.headers["WWW-Authenticate"] == theirs.headers["WWW-Authenticate"]
    assert site.rows() == []
