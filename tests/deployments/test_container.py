"""Container and compose file, read by the parsers of their makers; and the roles of the image."""

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import dockerfile
import pytest
import yaml
from compose_spec import PyCompose

from deployments import container
from deployments.access import SERVER_AUTH
from deployments.home import CHECKOUT
from deployments.processes import free_port
from tests.deployments.manifests import documents, pod
from tests.servers import Place

FILE = CHECKOUT / "deployments" / "Containerfile"
COMPOSE = yaml.safe_load((CHECKOUT / "deployments" / "compose.yaml").read_text())
PIP_OPTIONS = re.compile(r"-qq|-c constraints\.txt|\$\{?\(?.*?index-url.*?[)}]+(?= )")


@pytest.fixture(scope="module")
def lines() -> list[dockerfile.Command]:
    return list(dockerfile.parse_file(str(FILE)))


def of(lines: list[dockerfile.Command], kind: str) -> list[tuple[str, ...]]:
    return [line.value for line in lines if line.cmd.upper() == kind]


def test_what_is_copied_exists_and_is_let_through(lines: list[dockerfile.Command]) -> None:
    ignored = (CHECKOUT / ".containerignore").read_text().splitlines()
    assert "*" in ignored  # nothing but what is named
    named = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    sources = {source for *each, _ in of(lines, "COPY") for source in each}
    assert sources == named
    assert all((CHECKOUT / source).exists() for source in sources)


def test_all_packages_of_the_project_are_in_the_image(lines: list[dockerfile.Command]) -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {source for *each, _ in of(lines, "COPY") for source in each}
    packages = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")} - {"tests"}
    wanted = {p for p in packages if any(fnmatch.fnmatch(p, each) for each in patterns)}
    assert len(wanted) == len(patterns) and wanted <= copied


def installed(text: str, pip: str) -> list[list[str]]:
    """What each pip line of a recipe installs, without the options that all have."""
    joined = text.replace("\\\n", " ")
    found = re.findall(rf"{re.escape(pip)}(.*?)(?:&&|\n|$)", joined)
    return [shlex.split(PIP_OPTIONS.sub("", line)) for line in found]


def test_it_is_installed_as_the_makefile_does(lines: list[dockerfile.Command]) -> None:
    recipe = "\n".join(value for (value,) in of(lines, "RUN"))
    made = (CHECKOUT / "Makefile").read_text()
    assert "-c constraints.txt" in re.search(r"^PIP := (.*)$", made, re.MULTILINE)[1]
    theirs = installed(made, "@$(PIP)")
    ours = installed(recipe, "python -m pip install")
    assert recipe.count("pip install") == recipe.count("pip install -qq -c constraints.txt")
    # PyTorch first and alone, from the index that is given; then the rest, without the tests'.
    assert theirs[:2] == [["torch"], ["-e", ".[test]"]]
    assert ours == [["torch"], [".[kubernetes]"], ["--no-deps", "-e", "."]]
    assert '${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch' in recipe


def test_no_address_is_written_down_and_every_variable_is_declared_first(
    lines: list[dockerfile.Command],
) -> None:
    assert "://" not in FILE.read_text()
    known = {"PATH"}
    for line in lines:
        text = " ".join(line.value)
        used = set(re.findall(r"\$\{?(\w+)", text))
        assert used <= known, f"line {line.start_line}: {used - known}"
        if line.cmd.upper() == "ARG":
            known.add(text.partition("=")[0])
        if line.cmd.upper() == "ENV":
            known |= set(line.value[::3])


def test_it_does_not_run_as_root_and_knows_no_secret(lines: list[dockerfile.Command]) -> None:
    assert of(lines, "USER") == [("10001",)]
    after = [line.cmd.upper() for line in lines[[*map(kind, lines)].index("USER") :]]
    assert not {"RUN", "COPY", "ADD"} & set(after)
    names = {name for each in of(lines, "ENV") for name in each[::3]}
    assert not any(word in name for name in names for word in ("AUTH", "PASSWORD", "TOKEN", "KEY"))


def kind(line: dockerfile.Command) -> str:
    return line.cmd.upper()


def commands(lines: list[dockerfile.Command]) -> list[list[str]]:
    """Every role that an image, a compose service or a manifest asks of the entry point."""
    ours = f"mbpo:{COMPOSE['services']['server']['image'].partition(':')[2]}"
    pods = [pod(d) for d in documents() if "template" in d.get("spec", {})]
    return [
        *(list(value) for value in of(lines, "CMD")),
        *(each["command"] for each in COMPOSE["services"].values() if "command" in each),
        *(c["args"] for each in pods for c in each["containers"] if c["image"] == ours),
        ["prefect", "flow-run", "execute"],
    ]


def test_the_entry_point_takes_every_command_that_is_asked_of_it(
    lines: list[dockerfile.Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of(lines, "ENTRYPOINT") == [("tini", "-g", "--", "python", "-m", container.__name__)]
    asked, ran = commands(lines), []
    assert {each[0] for each in asked} == {"server", "worker", "register", "prefect"}
    monkeypatch.setenv(SERVER_AUTH, "user:word")
    monkeypatch.setattr(container, "become", lambda command: ran.append(command) or 0)
    for each in asked:
        if each[0] != "register":  # it runs, in test_up
            assert container.main(each) == 0
    prefect = container.PREFECT
    assert [*prefect, "server", "start", "--host", "0.0.0.0", "--port", "4200"] in ran
    assert [*prefect, "worker", "start", "--pool", "mbpo", "--type", "kubernetes"] in ran
    assert ["prefect", "flow-run", "execute"] in ran


def test_a_server_without_a_password_stays_on_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SERVER_AUTH, raising=False)
    monkeypatch.setattr(container, "become", lambda command: command)
    assert "127.0.0.1" in container.main(["server"])
    with pytest.raises(SystemExit, match="error: on --host 0"):
        container.main(["server", "--host", "0.0.0.0"])
    with pytest.raises(SystemExit, match="expected a command, or one of server, worker"):
        container.main([])


@pytest.mark.server
def test_health_is_that_of_the_server(standing: Place) -> None:
    assert container.main(["health", "--port", str(standing.home.port)]) == 0
    assert container.main(["health", "--port", str(free_port())]) == 1


def test_any_other_command_is_run_as_it_stands(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", container.__name__, "sh", "-c", "echo ran; exit 7"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "ran\n")


def parsed(made: dict[str, Any]) -> PyCompose:
    return PyCompose.from_yaml(yaml.safe_dump(made, sort_keys=False))  # without YAML's merge keys


def test_the_compose_file_keeps_to_the_specification() -> None:
    assert parsed(COMPOSE).service_names() == ["postgres", "server", "register", "worker"]
    wrong = yaml.safe_load((CHECKOUT / "deployments" / "compose.yaml").read_text())
    wrong["services"]["server"]["restrat"] = "always"
    with pytest.raises(ValueError, match="restrat"):
        parsed(wrong)


def test_compose_reaches_loopback_only_and_asks_for_its_passwords() -> None:
    services = COMPOSE["services"]
    assert [each for name in services for each in services[name].get("ports", [])] == [
        "127.0.0.1:4200:4200"
    ]
    for name, service in services.items():
        assert all(other in services for other in service.get("depends_on", {})), name
        for variable, value in service["environment"].items():
            if any(word in variable for word in ("AUTH", "PASSWORD", "TOKEN")):
                assert re.fullmatch(r"\$\{\w+:[?-][^}]*\}", value), variable
    for volume in (v for each in services.values() for v in each.get("volumes", [])):
        assert volume.partition(":")[0] in COMPOSE["volumes"]
