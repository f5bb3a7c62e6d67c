"""The files in docker/ fit docrag. No engine runs here, so each line is compared with what it refers to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from fastapi.testclient import TestClient

from docrag import Index, __version__
from docrag.cli import app
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from docrag.settings import Settings, load_settings
from tests.docker.compose import DOCKER, ENV, KEYS, commands, environment, interpolated, services, variables

ROOT = DOCKER.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
README = (DOCKER / "README.md").read_text()
COMPOSE_FILES = sorted(DOCKER.glob("compose*.yaml"))
OURS = ("docrag", "ingest")
CLI = typer.main.get_command(app)
STAGES = {
    name: (base, body)
    for base, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
}


def instruction(name: str) -> Any:
    """The JSON argument of an instruction that occurs once."""
    [argument] = re.findall(rf"^{name} (?:--\S+ )*(?:CMD )?(\[.*?\])$", DOCKERFILE, re.M | re.S)
    return json.loads(re.sub(r"\\\n", "", argument))


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """A docrag command and its parameters, as the real parser reads them; the command is not run."""
    context = CLI.make_context("docrag", list(arguments))
    name, command, rest = CLI.resolve_command(context, [*context._protected_args, *context.args])
    return name, command.make_context(name, rest, parent=context).params


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def test_hadolint_accepts_the_dockerfile():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    result = run(hadolint, str(DOCKER / "Dockerfile"))
    assert (result.returncode, result.stdout) == (0, "")
    assert "DL3007" in run(hadolint, "-", input="FROM python:latest\n").stdout  # it does check


def schema_error(file: Path) -> str:
    checker = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    result = run(*checker, str(file))
    return result.stdout if result.returncode else ""


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=lambda file: file.name)
def test_compose_files_fit_their_schema(file: Path, tmp_path: Path):
    assert schema_error(file) == ""
    wrong = tmp_path / file.name
    wrong.write_text(file.read_text().replace("services:\n", "services:\n  wrong:\n    imag: x\n"))
    assert "imag" in schema_error(wrong)


@pytest.mark.parametrize("files", [COMPOSE_FILES, [DOCKER / "compose.yaml"]], ids=["cuda", "cpu"])
def test_compose_accepts_the_files(files: list[Path]):
    if not shutil.which("docker") or run("docker", "compose", "version").returncode:
        pytest.skip("docker has no compose plugin here")
    file_flags = [flag for file in reversed(files) for flag in ("--file", str(file))]
    flags = (*file_flags, "--profile", "*", "config", "--format", "json")
    result = run("docker", "compose", *flags, env={**os.environ, **ENV})
    assert result.returncode == 0, result.stderr
    image = json.loads(result.stdout)["services"]["docrag"]["image"]
    assert image.endswith("-cuda") == (len(files) == 2)


ALL_COMMANDS = [
    instruction("CMD"),
    *(services()[name]["command"] for name in OURS),
    *(
        command
        for block in re.findall(r"```sh\n(.*?)```", README, re.S)
        for command in commands(block)
        if command
    ),
]


@pytest.mark.parametrize("arguments", ALL_COMMANDS, ids=" ".join)
def test_docrag_accepts_the_command(arguments: list[str]):
    assert parsed(arguments)[0] == arguments[0]


def test_commands_of_the_readme_are_found_and_wrong_ones_detected():
    assert len(ALL_COMMANDS) == 10
    with pytest.raises(Exception, match="no-such-flag"):
        parsed(["ingest", "/documents", "--no-such-flag"])


def test_variables_of_docrag_are_settings():
    [serve] = [command for name, command in CLI.commands.items() if name == "serve"]
    known = {f"DOCRAG_{name.upper()}" for name in Settings.model_fields}
    known |= {param.envvar for param in serve.params if param.envvar}
    for file in (*DOCKER.iterdir(), *DOCKER.glob(".*")):
        assert set(re.findall(r"DOCRAG_[A-Z_]+", file.read_text())) <= known, file.name


@pytest.mark.parametrize("name", OURS)
def test_the_environment_of_a_container_gives_the_right_settings(name: str, monkeypatch: pytest.MonkeyPatch):
    env = environment(services()[name], {**ENV, "DOCRAG_LATE": "colqwen2"})
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert settings.index == "http://qdrant:6333/pages"
    assert settings.api_key.get_secret_value() == KEYS["QDRANT_API_KEY"]
    assert settings.api_key_in_clear
    assert settings.image_base_url == "http://127.0.0.1:8000"
    assert (settings.late, settings.image) == ("colqwen2", None)
    assert set(env) - {"DOCRAG_SERVE_KEY"} == {
        *("DOCRAG_INDEX", "DOCRAG_API_KEY", "DOCRAG_API_KEY_IN_CLEAR", "DOCRAG_IMAGE_BASE_URL", "DOCRAG_LATE")
    }


def test_env_example_has_every_variable_and_no_key():
    used = set().union(*(variables(file.read_text()) for file in COMPOSE_FILES))
    used |= {name for name, value in services()["docrag"]["environment"].items() if value is None}
    text = (DOCKER / ".env.example").read_text()
    examples = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.M))
    assert set(examples) == used | {"COMPOSE_FILE", "COMPOSE_PROFILES"}  # Compose itself reads these two
    assert [examples[name] for name in (*KEYS, "DOCUMENTS")] == ["", "", ""]
    for name in ENV:
        with pytest.raises(KeyError, match=name):  # no container starts with an empty key
            services({**ENV, name: ""})


def test_only_this_machine_reaches_a_port():
    ports = {name: service.get("ports", []) for name, service in services().items()}
    assert ports.pop("ingest") == []
    assert [len(published) for published in ports.values()] == [1, 1, 1]
    assert all(
        re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for published in ports.values() for port in published
    )


def test_images_have_versions_and_do_not_run_as_root():
    for name, service in services().items():
        assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"]), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"user", "privileged", "network_mode", "cap_add"} & set(service)
        assert (service["image"] == f"docrag:{__version__}") == (name in OURS)
    assert services()["qdrant"]["image"].endswith("-unprivileged")
    assert re.findall(r"^USER (.*)$", STAGES["runtime"][1], re.M) == ["10001:10001"]
    for target in ("cpu", "cuda"):
        base, body = STAGES[target]
        assert base == "runtime"
        assert "USER" not in body
    assert list(STAGES)[-1] == "cpu"  # the default target
    built = yaml.safe_load((DOCKER / "compose.cuda.yaml").read_text())["services"]["docrag"]["build"][
        "target"
    ]
    assert built in STAGES


def ignored(path: str) -> bool:
    """Whether .dockerignore excludes a path: the last pattern that matches it, or a folder of it, decides."""
    excluded = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{pattern}(/.*)?", path):
                excluded = not line.startswith("!")
    return excluded


def test_the_build_context_holds_what_is_copied_and_nothing_else():
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M)]
    sources = {source for sources in copied for source in sources}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source)
    assert {
        package.split("/")[0] for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    } < sources
    for path in (
        ".git/config",
        "tests/conftest.py",
        "docker/.env",
        "docrag-index/points",
        "shared/data/a.pdf",
        ".venv/x",
    ):
        assert ignored(path), path
    assert ignored("docrag/cli/__pycache__/serve.pyc")
    assert not ignored("docrag/serve/templates/page.html")
    sent = {path.name for path in ROOT.iterdir() if not ignored(path.name)}
    assert sent == sources


def test_the_extras_of_the_images_exist():
    extras = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.M)
    assert [names.split(",")[0] for names in extras] == ["serve", "serve"]
    assert {name for names in extras for name in names.split(",")} <= set(
        PROJECT["project"]["optional-dependencies"]
    )


@contextmanager
def responding(status: int) -> Iterator[int]:
    """A server that responds to health checks with a status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path in ("/healthz", "/readyz") else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


HEALTH_CHECKS = {
    "docrag": (8000, instruction("HEALTHCHECK")),
    "qdrant": (6333, services()["qdrant"]["healthcheck"]["test"][1:]),
}


@pytest.mark.parametrize("name", HEALTH_CHECKS)
def test_a_health_check_detects_whether_a_service_is_healthy(name: str):
    port, command = HEALTH_CHECKS[name]

    def check(at: int) -> int:
        moved = [re.sub(rf"\b{port}\b", str(at), word) for word in command]
        assert moved != command
        return run(*[sys.executable if word == "python" else word for word in moved]).returncode

    with responding(200) as at:
        assert check(at) == 0
    assert check(at) != 0  # the server has ended
    with responding(503) as at:
        assert check(at) != 0


def test_prometheus_can_read_the_metrics(demo_index: Index):
    configs = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    jobs = {job["job_name"]: job for job in configs}
    compose = yaml.safe_load(interpolated((DOCKER / "compose.yaml").read_text(), ENV))
    secrets = {name: ENV[secret["environment"]] for name, secret in compose["secrets"].items()}
    key_of = {}
    for name, job in jobs.items():
        [[target]] = [config["targets"] for config in job["static_configs"]]
        host, _, port = target.partition(":")
        assert compose["services"][host]["ports"][0].endswith(f":{port}")
        secret = Path(job["authorization"]["credentials_file"])
        assert str(secret.parent) == "/run/secrets"
        assert secret.name in compose["services"]["prometheus"]["secrets"]
        key_of[name] = secrets[secret.name]
    assert key_of["qdrant"] == compose["services"]["qdrant"]["environment"]["QDRANT__SERVICE__API_KEY"]
    _, flags = parsed(compose["services"]["docrag"]["command"])
    settings = ServeSettings(
        host=flags["host"],
        port=flags["port"],
        api_key=compose["services"]["docrag"]["environment"]["DOCRAG_SERVE_KEY"],
        allowed_hosts=tuple(flags["allow_host"]),
    )
    client = TestClient(create_app(demo_index, settings), base_url="http://docrag:8000")
    response = client.get(
        jobs["docrag"]["metrics_path"], headers={"Authorization": f"Bearer {key_of['docrag']}"}
    )
    assert response.status_code == 200
    assert "docrag_search_seconds" in response.text
    assert client.get("/metrics").status_code == 401
    other_host = client.get("/healthz", headers={"Host": "pages.example"})
    assert other_host.status_code == 421
