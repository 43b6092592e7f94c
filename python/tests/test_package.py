"""From a clean checkout to a site that logs: sdist, wheel, an empty environment, four lines."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request

import pytest
from conftest import ROOT

pytestmark = pytest.mark.once


def clean():
    """The environment without what the tests themselves need."""
    ours = ["PYTHONPATH", "DJANGO_SETTINGS_MODULE"]
    return {name: value for name, value in os.environ.items() if name not in ours}


def run(*command, **options):
    environment = {**clean(), **options.pop("env", {})}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=1800, **options
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the sdist, which is built from nothing but what git knows."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
        if (ROOT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "venv", str(dist / "build"))
    python = str(dist / "build/bin/python")
    run(python, "-m", "pip", "install", "-q", "build")
    run(python, "-m", "build", "--sdist", "--outdir", str(dist), str(checkout))
    [sdist] = dist.glob("*.tar.gz")
    assert not [name for name in tarfile.open(sdist).getnames() if name.endswith(".so")]
    # As quick as the other builds of the tests.
    quick = {"MATURIN_PEP517_ARGS": "--profile dev", "CARGO_TARGET_DIR": str(ROOT / "target")}
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(dist), str(sdist), env=quick)
    [wheel] = dist.glob("*.whl")
    return wheel


def test_four_lines_and_a_site_logs(wheel, tmp_path):
    assert re.match(r"django_djaffar-1\.0\.0\S*-cp310-abi3-\w+\.whl", wheel.name)
    run(sys.executable, "-m", "venv", str(tmp_path / "env"))
    binaries = tmp_path / "env/bin"
    python = str(binaries / "python")
    run(python, "-m", "pip", "install", "-q", str(wheel))
    assert "djaffar 1.0.0" in run(str(binaries / "djaffar"), "--version")
    site = tmp_path / "site"
    site.mkdir()
    run(str(binaries / "django-admin"), "startproject", "shop", str(site))
    # What the README says, and nothing else.
    with open(site / "shop/settings.py", "a") as settings:
        settings.write('\nINSTALLED_APPS += ["djaffar"]\n')
    with open(site / "shop/urls.py", "a") as urls:
        urls.write("\nfrom django.urls import include\n")
        urls.write('urlpatterns += [path("djaffar/", include("djaffar.urls"))]\n')
    run(python, "manage.py", "migrate", cwd=site)
    run(python, "manage.py", "check", "--fail-level", "WARNING", cwd=site)
    server = subprocess.Popen(
        [python, "-u", "manage.py", "runserver", "--noreload", "127.0.0.1:0"],
        cwd=site, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean(),
    )  # fmt: skip
    try:
        for line in server.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        body = b"date=2016-12-29T07:35:22.571Z&path=/cart"
        answer = urllib.request.urlopen(found[0] + "/djaffar/log/", body, timeout=20)
        assert answer.status == 204
    finally:
        server.terminate()
        server.wait(timeout=20)
    script = "from djaffar.models import Activity; print(Activity.objects.paths())"
    assert "[('/cart', 1)]" in run(python, "manage.py", "shell", "-c", script, cwd=site)
