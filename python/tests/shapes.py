"""What deploy/ says: the image of the Dockerfile, the services of the compose files. Runs nothing."""

import json
import re
from pathlib import Path

import yaml
from conftest import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
SHAPES = ["alone", "postgresql", "mariadb", "servers", "clickhouse"]
# Names of options, as environment variables.
OPTIONS = {
    "DJAFFAR_" + name.upper()
    for name in re.findall(r"(?m)^(\w+) = ", (ROOT / "djaffar.example.toml").read_text())
}


def read(name):
    return yaml.safe_load((COMPOSE / f"{name}.yaml").read_text())


def services(name):
    """The services of a compose file, with what they extend."""
    found = read(name)["services"]
    return {service: _extended(name, given) for service, given in found.items()}


def _extended(name, given):
    given = dict(given)
    base = given.pop("extends", None)
    if base is None:
        return given
    assert set(base) == {"file", "service"}
    file = Path(base["file"]).stem
    base = _extended(file, read(file)["services"][base["service"]])
    for key, value in given.items():
        base[key] = _merged(key, base.get(key), value)
    return base


def _merged(key, base, value):
    """As the specification of compose says (Merge): maps by key, volumes by target, lists appended."""
    if base is None or key in ("command", "entrypoint"):
        return value
    if key == "volumes":
        return list({volume.split(":")[1]: volume for volume in [*base, *value]}.values())
    if isinstance(base, dict) and isinstance(value, dict):
        return {**base, **value}
    if isinstance(base, list) and isinstance(value, list):
        return [*base, *value]
    return value


def image():
    """The instructions of the Dockerfile's last stage, as pairs, and the names of its stages."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = re.split(r"\n(?=[A-Z]+ )", "\n".join(lines).replace("\\\n", ""))
    pairs = [tuple(instruction.split(None, 1)) for instruction in found]
    stages = [number for number, (word, _) in enumerate(pairs) if word == "FROM"]
    names = [pairs[number][1].partition(" AS ")[2] for number in stages]
    return pairs[stages[-1] :], names


def said(word):
    """What the image says after this word, the last time that it does."""
    return [rest for name, rest in image()[0] if name == word][-1]


def command(service):
    """What a container of the image runs, and its environment."""
    arguments = service.get("command", json.loads(said("CMD")))
    environment = dict(pair.split("=", 1) for pair in said("ENV").split())
    environment |= {name: str(value) for name, value in service.get("environment", {}).items()}
    return [*json.loads(said("ENTRYPOINT")), *arguments], environment


def is_ours(service):
    return service.get("image") == "djaffar"
