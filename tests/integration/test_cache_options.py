"""Where a process keeps answers, as the command line and its variables say; what is missing ends in one line."""

from pathlib import Path
from typing import Any

import pytest
from harness import route, upstream

from seawall import cli
from seawall.arguments import take
from seawall.cache_options import OPTIONS, places
from seawall.cli import main
from seawall.store.places import Places

# Option, variable, what is written, member, what it means.
TABLE: list[tuple[str, str, str, str, Any]] = [
    ("--cache-memory", "SEAWALL_CACHE_MEMORY", "8Mi", "memory", 8 * 2**20),
    ("--cache-folder", "SEAWALL_CACHE_FOLDER", "/var/kept", "folder", Path("/var/kept")),
    ("--cache-disk", "SEAWALL_CACHE_DISK", "2Gi", "disk", 2 * 2**30),
    ("--cache-redis", "SEAWALL_CACHE_REDIS", "rediss://cache:6380/1", "redis", "rediss://cache:6380/1"),
    (
        "--cache-redis-password-file", "SEAWALL_CACHE_REDIS_PASSWORD_FILE", "/run/p", "redis_password_file",
        Path("/run/p"),
    ),
    ("--cache-redis-ca-file", "SEAWALL_CACHE_REDIS_CA_FILE", "/run/ca", "redis_ca_file", Path("/run/ca")),
    ("--cache-key-file", "SEAWALL_CACHE_KEY_FILE", "/run/k", "key_file", Path("/run/k")),
    ("--cache-identity", "SEAWALL_CACHE_IDENTITY", "team-a", "identity", "team-a"),
]  # fmt: skip


def read(words: list[str], environment: dict[str, str], command: str = "serve") -> Places:
    arguments = cli._parser().parse_args([command, *words])
    take(arguments, environment)
    return places(arguments)


def test_the_table_knows_every_option() -> None:
    assert [row[0] for row in TABLE] == [option.flag for option in OPTIONS]
    assert {row[3] for row in TABLE} == set(Places.__dataclass_fields__)


def test_without_options_answers_are_kept_in_32_mib_of_memory_and_nowhere_else() -> None:
    assert read([], {}) == Places()
    assert Places() == Places(2**25, None, 2**30, "", None, None, None, "")
    # As an empty variable, which counts as unset.
    assert read([], {row[1]: "" for row in TABLE}) == Places()


@pytest.mark.parametrize("command", ["serve", "demo"])
@pytest.mark.parametrize(("option", "variable", "text", "member", "value"), TABLE, ids=[row[3] for row in TABLE])
def test_an_option_and_its_variable_say_the_same(
    command: str, option: str, variable: str, text: str, member: str, value: Any
) -> None:
    typed, told = read([option, text], {}, command), read([], {variable: text}, command)
    assert typed == told != Places()
    assert getattr(typed, member) == value
    assert read([option, text], {variable: "8Ki"}, command) == typed


@pytest.mark.parametrize("option", ["--cache-memory", "--cache-disk"])
@pytest.mark.parametrize("text", ["-1", "many", "1e9"])
def test_a_size_that_is_none_is_one_line(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", option, text, "--policy", "/no/such/policy.yaml"]) == 2
    assert capsys.readouterr().err == f"seawall: {option}: {text!r} is not a size, such as 64Mi\n"


@pytest.fixture
def serving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Start `seawall serve` with a rule that keeps answers; what it says as it gives up."""

    def serve(store: str, *words: str) -> str:
        file = tmp_path / "policy.yaml"
        spec = f"cache: {{mode: Enabled, ttl: 1h, store: {store}}}"
        file.write_text(upstream("a", "http://127.0.0.1:9/v1") + route("chat", "/v1", "a", spec))
        anywhere = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-socket", str(tmp_path / "s")]
        assert main(["serve", "--policy", str(file), *anywhere, *words]) == 2
        out, errors = capsys.readouterr()
        assert out == "" and errors.count("\n") == 1
        return errors.removesuffix("\n")

    return serve


@pytest.mark.parametrize(
    ("store", "words", "line"),
    [
        ("Disk", [], "a rule keeps answers on disk: --cache-folder must say where"),
        ("Redis", [], "a rule keeps answers in Redis: --cache-redis must say where"),
        (
            "Redis",
            ["--cache-redis", "redis://127.0.0.1:1"],
            "answers in Redis are found again only with a key that replicas share: --cache-key-file",
        ),
        (
            "Redis",
            ["--cache-redis", "http://:hunter2@x", "--cache-key-file", "/no/such/key"],
            "--cache-redis: a redis URL begins with redis:// or rediss://",
        ),
        ("Memory", ["--cache-key-file", "/no/such/key"], "/no/such/key: No such file or directory"),
        ("Disk", ["--cache-folder", "/dev/null/kept"], "/dev/null/kept: Not a directory"),
    ],
)
def test_what_is_missing_is_said_in_one_line(store: str, words: list[str], line: str, serving: Any) -> None:
    assert serving(store, *words) == f"seawall: {line}"


def test_a_short_key_is_said_in_one_line(tmp_path: Path, serving: Any) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"short")
    assert serving("Memory", "--cache-key-file", str(file)) == f"seawall: {file}: must hold 32 bytes or more"


def test_places_show_no_password() -> None:
    assert "hunter2" not in repr(read(["--cache-redis", "redis://:hunter2@cache"], {}))
