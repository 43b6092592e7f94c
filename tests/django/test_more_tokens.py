"""Tokens of knox, SimpleJWT and django-oauth-toolkit, made by them, judged as they judge them."""

import base64
import json
import time

import pytest
from live import CACHE_SECONDS

KNOX = "knox.auth.TokenAuthentication"
JWT = "rest_framework_simplejwt.authentication.JWTAuthentication"
OAUTH = "oauth2_provider.contrib.rest_framework.OAuth2Authentication"
DRF = "rest_framework.authentication.TokenAuthentication"

USER = "from django.contrib.auth.models import User\nuser = User.objects.get(username=%r)\n"
MAKE_KNOX = USER + (
    "from datetime import timedelta\nfrom knox.models import AuthToken\n"
    "made = AuthToken.objects.create(user, expiry=timedelta(seconds=%d))\nprint(made[1])"
)
MAKE_JWT = USER + (
    "from rest_framework_simplejwt.tokens import %s as Token\n"
    "token = Token.for_user(user)\n%s\nprint(token)"
)
# Each with the name of a user, the kind of token and what is changed in it.
MAKE_JWTS = (
    "import json\nfrom django.contrib.auth.models import User\n"
    "from rest_framework_simplejwt import tokens\nmade = []\n"
    "for name, kind, change in json.loads(%r):\n"
    "    user = User.objects.get(username=name)\n"
    "    token = getattr(tokens, kind).for_user(user)\n"
    "    exec(change)\n    made.append(str(token))\n"
    "print(json.dumps(made))"
)
MAKE_OAUTH = USER + (
    "from datetime import timedelta\nfrom django.utils import timezone\n"
    "from oauth2_provider.models import AccessToken, Application\n"
    "app, _ = Application.objects.get_or_create(name='app', client_type='confidential',\n"
    "    authorization_grant_type='client-credentials')\n"
    "AccessToken.objects.create(user=%s, application=app, token=%r, scope='read',\n"
    "    expires=timezone.now() + timedelta(seconds=%d))"
)


def make(site, script, *values):
    return site.manage("script", SITE_SCRIPT=script % values).decode().strip()


@pytest.fixture
def tokens(make_site):
    """A site that has these apps, and a djaffar that has these tokens."""

    def tokens(apps, who, *options, **settings):
        site = make_site({"EXTRA_APPS": apps, "WHO": who, **settings})
        site.manage("migrate", "--noinput", "-v0")
        site.serve()
        site.serve_djaffar(*options)
        return site

    return tokens


def check(site, header, user):
    """Djaffar and Django agree about a header."""
    headers = {"Authorization": header}
    path = "/%d" % time.monotonic_ns()
    ours = site.browser().log(path, headers=headers)
    theirs = site.browser().post("/who/", headers=headers)
    if user is None:
        assert theirs.status_code in (401, 403), header
        assert ours.status_code == 401, header
        assert site.rows("SELECT * FROM djaffar_activity WHERE path = ?", path) == []
        return ours, theirs
    assert theirs.json()["user"] == site.user(user), header
    assert ours.status_code == 204, ours.text
    assert site.activity(path)["user_id"] == site.user(user)
    return ours, theirs


def same_refusal(answers):
    ours, theirs = answers
    assert theirs.status_code == 401
    assert ours.json()["detail"] == theirs.json()["detail"]
    assert ours.headers["WWW-Authenticate"] == theirs.headers["WWW-Authenticate"]


def test_knox(tokens):
    site = tokens(["knox"], [KNOX], "--token=knox")
    token = make(site, MAKE_KNOX, "alice", 3600)
    dave = make(site, MAKE_KNOX, "dave", 3600)
    short = make(site, MAKE_KNOX, "bob", 4)
    check(site, "Token " + token, "alice")
    check(site, "tOKEN " + token, "alice")
    check(site, "Token " + short, "bob")
    site.browser().get("/deactivate/dave/")
    same_refusal(check(site, "Token " + dave, None))
    for bad in [token[:-1] + "x", token[1:], token + "0", "0" * 64, "Token", "a b"]:
        same_refusal(check(site, "Token " + bad, None))
    # A token ends when it says, whatever is remembered.
    time.sleep(4.5)
    same_refusal(check(site, "Token " + short, None))


def test_knox_with_a_prefix_beside_the_tokens_of_django_rest_framework(tokens):
    rest_knox = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "shop_"}
    options = ["--token=drf,knox", "--knox-header=Bearer"]
    site = tokens(["knox"], [DRF, KNOX], *options, REST_KNOX=rest_knox)
    token = make(site, MAKE_KNOX, "alice", 3600)
    assert token.startswith("shop_")
    check(site, "Bearer " + token, "alice")
    plain = site.manage("drf_create_token", "bob").decode().split()[2]
    check(site, "Token " + plain, "bob")
    same_refusal(check(site, "Bearer " + plain, None))
    same_refusal(check(site, "Token " + token, None))


def pair(site, algorithm):
    """A pair of keys in PEM: private, public."""
    key = {
        "RS": "from cryptography.hazmat.primitives.asymmetric import rsa\n"
        "key = rsa.generate_private_key(65537, 2048)\n",
        "ES": "from cryptography.hazmat.primitives.asymmetric import ec\n"
        "key = ec.generate_private_key(ec.SECP%sR1())\n" % algorithm[2:],
    }[algorithm[:2]]
    script = key + (
        "import json\nfrom cryptography.hazmat.primitives.serialization import *\n"
        "private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())\n"
        "form = PublicFormat.SubjectPublicKeyInfo\n"
        "public = key.public_key().public_bytes(Encoding.PEM, form)\n"
        "print(json.dumps([private.decode(), public.decode()]))"
    )
    return json.loads(site.manage("script", SITE_SCRIPT=script))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["HS256", "HS512", "RS256", "ES256", "ES384"])
def test_jwt(make_site, algorithm):
    demands = {"AUDIENCE": ["shop", "pay"], "ISSUER": "https://id.example"}
    options = ["--token=jwt", "--jwt-algorithm=" + algorithm]
    options += ["--jwt-audience=shop,pay", "--jwt-issuer=https://id.example"]
    site = make_site({"WHO": [JWT]})
    simple = {"ALGORITHM": algorithm, **demands}
    if not algorithm.startswith("HS"):
        simple["SIGNING_KEY"], simple["VERIFYING_KEY"] = pair(site, algorithm)
        (site.folder / "public.pem").write_text(simple["VERIFYING_KEY"])
        options.append("--jwt-key-file=public.pem")
    site.settings["SIMPLE_JWT"] = simple
    site.serve()
    site.serve_djaffar(*options)

    def tokens(*changes, user="alice", kind="AccessToken"):
        wanted = [[user, kind, change] for change in changes or [""]]
        return json.loads(make(site, MAKE_JWTS, json.dumps(wanted)))

    good, by_number, *refused = tokens(
        "",
        "token['user_id'] = user.pk",
        "token['token_type'] = 'refresh'",
        "from datetime import timedelta; token.set_exp(lifetime=timedelta(-1))",
        "del token['exp']",
        "del token['jti']",
        "token['nbf'] = token['exp']",
        "token['user_id'] = '999'",
        "del token['user_id']",
    )
    check(site, "Bearer " + good, "alice")
    check(site, "Bearer " + by_number, "alice")
    refused += tokens(kind="RefreshToken")
    refused += [good[:-8] + "AAAAAAAA", good.rsplit(".", 1)[0] + ".", "a.b.c", "nonsense"]
    assert len(refused) == 12
    for token in refused:
        same_refusal(check(site, "Bearer " + token, None))
    same_refusal(check(site, "Bearer", None))
    for demand in [{"ISSUER": "https://other.example"}, {"AUDIENCE": "other"}]:
        site.settings["SIMPLE_JWT"] = {**simple, **demand}
        [other] = tokens()
        same_refusal(check(site, "Bearer " + other, None))

    site.settings["SIMPLE_JWT"] = simple
    [dave] = tokens(user="dave")
    check(site, "Bearer " + dave, "dave")
    site.browser().get("/deactivate/dave/")
    time.sleep(CACHE_SECONDS)
    same_refusal(check(site, "Bearer " + dave, None))


@pytest.mark.slow
def test_a_new_password_ends_a_jwt_that_holds_its_hash(make_site):
    site = make_site({"WHO": [JWT], "SIMPLE_JWT": {"CHECK_REVOKE_TOKEN": True}})
    site.serve()
    site.serve_djaffar("--token=jwt", "--jwt-check-password=true")
    token = make(site, MAKE_JWT, "alice", "AccessToken", "")
    check(site, "Bearer " + token, "alice")
    make(site, USER + "user.set_password('another')\nuser.save()", "alice")
    time.sleep(CACHE_SECONDS)
    same_refusal(check(site, "Bearer " + token, None))


@pytest.mark.newest_django
def test_a_server_alone_takes_the_tokens_of_any_backend(make_site):
    """No Django: a secret, or a public key, is all that it shares with the backend."""
    site = make_site(empty=True)
    site.database = site.folder / "djaffar.sqlite3"
    secret = "k7#v!mq2z8x_w4n9c3b6t1y5r0p-e8u7i6o5a4s3d2f1"
    (site.folder / "shared").write_text(secret)
    options = ["--token=jwt", "--jwt-key-file=shared", "--jwt-user-claim=sub"]
    options += ["--jwt-token-type=", "--jwt-stateless=true", "--jwt-audience=activities"]
    site.serve_djaffar(*options, alone=True)

    def token(**claims):
        import hashlib
        import hmac

        def encode(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        head = encode(b'{"alg":"HS256","typ":"JWT"}')
        signed = head + "." + encode(json.dumps(claims).encode())
        mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        return {"Authorization": "Bearer %s.%s" % (signed, encode(mac))}

    claims = {"sub": "4711", "aud": "activities", "exp": time.time() + 60}
    for number, (sub, kept) in enumerate(
        [("4711", 4711), (4712, 4712), ("ada@example.com", "ada@example.com")]
    ):
        path = "/%d" % number
        assert site.browser().log(path, headers=token(**{**claims, "sub": sub})).status_code == 204
        assert site.activity(path)["user_id"] == kept
    for change in [{"aud": "x"}, {"exp": 1}, {"sub": None}]:
        answer = site.browser().log("/refused", headers=token(**{**claims, **change}))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    text = site.djaffar("dumpdata", "djaffar.Activity").decode()
    assert [row["fields"]["user"] for row in json.loads(text)] == [4711, 4712, "ada@example.com"]


def test_oauth(tokens):
    site = tokens(["oauth2_provider"], [OAUTH], "--token=oauth")
    check_oauth(site)


def check_oauth(site):
    for user, token, seconds in [
        ("user", "alices-token", 3600),
        ("None", "token-of-a-client", 3600),
        ("user", "expired", -1),
        ("user", "short", 5),
    ]:
        make(site, MAKE_OAUTH, "alice", user, token, seconds)
    check(site, "Bearer short", "alice")
    check(site, "Bearer alices-token", "alice")
    check(site, "bearer alices-token", "alice")
    for token in ["expired", "Alices-token", "nonsense", "' OR 1=1 --", "a" * 5_000]:
        check(site, "Bearer " + token, None)
    # A client that acts for nobody is let in, and is no user.
    headers = {"Authorization": "Bearer token-of-a-client"}
    assert site.browser().log("/client", headers=headers).status_code == 204
    assert site.activity("/client")["user_id"] is None
    time.sleep(5)
    check(site, "Bearer short", None)


@pytest.mark.older_apps
def test_the_older_tables_of_oauth_and_knox(tokens):
    """django-oauth-toolkit 2 has no checksum, knox 4.2 a digest of the token's bytes."""
    apps = ["rest_framework", "oauth2_provider", "knox"]
    site = tokens(apps, [KNOX, OAUTH], "--token=knox,oauth")
    columns = site.rows("SELECT name FROM pragma_table_info('oauth2_provider_accesstoken')")
    assert "token_checksum" not in [row["name"] for row in columns]
    check_oauth(site)
    token = make(site, MAKE_KNOX, "bob", 3600)
    check(site, "Token " + token, "bob")
    check(site, "Token " + token[:-1] + "x", None)


def test_jwt_and_oauth_share_their_word(tokens):
    site = tokens(["oauth2_provider"], [JWT], "--token=jwt,oauth")
    make(site, MAKE_OAUTH, "alice", "user", "opaque", 3600)
    token = make(site, MAKE_JWT, "bob", "AccessToken", "")
    for header, user in [("Bearer opaque", "alice"), ("Bearer " + token, "bob")]:
        path = "/" + user
        answer = site.browser().log(path, headers={"Authorization": header})
        assert answer.status_code == 204, answer.text
        assert site.activity(path)["user_id"] == site.user(user)
    # SimpleJWT compares the word as it is written.
    answer = site.browser().log("/refused", headers={"Authorization": "bearer " + token})
    assert answer.status_code == 401
