"""From a clean checkout to a site that logs: sdist, wheel, an empty environment, four lines."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile

import pytest
from conftest import ROOT

# One wheel is built for all.
pytestmark = [pytest.mark.once, pytest.mark.xdist_group("package")]


def clean():
    """The environment without what the tests themselves need."""
    ours = ["PYTHONPATH", "DJANGO_SETTINGS_MODULE", "RUSTC_WORKSPACE_WRAPPER"]
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
    # As quick as the other builds of the tests, of which SQLite is not compiled anew where it is
    # told the same.
    quick = {"MATURIN_PEP517_ARGS": "--profile dev", "CARGO_TARGET_DIR": str(ROOT / "target")}
    config = (ROOT / ".cargo/config.toml").read_text()
    quick |= dict(re.findall(r'^(LIBSQLITE3_FLAGS) = "(.*)"$', config, re.M))
    quick["CARGO_INCREMENTAL"] = "0"
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(dist), str(sdist), env=quick)
    [wheel] = dist.glob("*.whl")
    return wheel


def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = email.message_from_bytes(file.read(metadata))
        [points] = [name for name in names if name.endswith("/entry_points.txt")]
        assert "djaffar.pytest_plugin" in file.read(points).decode()
    assert (said["Name"], said["Requires-Python"]) == ("django-djaffar", ">=3.10")
    assert said["License-Expression"] == "BSD-3-Clause"
    assert said.get_all("License-File") == ["LICENSE"]
    assert said.get_all("Requires-Dist") == ["django>=5.2"]
    assert {f"Framework :: Django :: {version}" for version in ("5.2", "6.0", "6.1")} <= set(
        said.get_all("Classifier")
    )
    assert said.get_payload().startswith("# Djaffar")
    for name in [
        "djaffar/py.typed", "djaffar/_djaffar.pyi", "djaffar/_djaffar.abi3.so",
        "djaffar/migrations/0002_history_outlives_sessions.py",
        "djaffar/templates/admin/djaffar/one_page.html",
        "djaffar/management/commands/djaffar.py",
    ]:  # fmt: skip
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "tests" in name or name.endswith((".rs", ".toml"))]


def test_a_checker_of_types_knows_what_a_site_gets(wheel, tmp_path):
    """mypy --strict, with django-stubs, over what a site writes."""
    run(sys.executable, "-m", "venv", str(tmp_path / "env"))
    python = str(tmp_path / "env/bin/python")
    run(python, "-m", "pip", "install", "-q", "mypy==2.4.1", "django-stubs==6.1.2", str(wheel))
    for file in (ROOT / "python/tests/typed").iterdir():
        shutil.copy(file, tmp_path)
    said = run(
        python,
        "-m",
        "mypy",
        "--cache-dir=/dev/null",
        "shop.py",
        cwd=tmp_path,
        env={"PYTHONPATH": "."},
    )
    assert "no issues found" in said


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
    said = (ROOT / "README.md").read_text().split("\n## In Django\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", said, re.S)
    assert [name for name, _ in blocks] == ["settings.py", "urls.py"]
    for name, text in blocks:
        with open(site / "shop" / name, "a") as file:
            file.write("\n" + text)
    commands = re.findall(r"^python (manage\.py .*)$", said, re.M)
    assert [command.split()[1] for command in commands] == ["migrate", "djaffar"]
    run(python, *commands[0].split(), cwd=site)
    # Django's own, as for each new site.
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
