"""`seawall explain` of candidates that speak another dialect: what would be asked of them, or why they are skipped, in
the words of the log. And a process without the packages that translation needs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from across import across, in_order, key_file, routes, upstreams
from harness import upstream
from peers import agent
from processes import ROOT

from seawall.cli import main

RULE = "retry: {attempts: 0}\n"


def policy(folder: Path, backends: str = "o a") -> Path:
    file = folder / "policy.yaml"
    file.write_text(upstreams(folder, "http://127.0.0.1:9") + routes(in_order(backends), RULE))
    return file


def explained(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    file: Path,
    body: object,
    path: str = "/openai/v1/chat/completions",
) -> str:
    request = folder / "request.http"
    request.write_text(f"POST {path} HTTP/1.1\nhost: x\nauthorization: Bearer of-the-agent\n\n{json.dumps(body)}")
    assert main(["explain", "--policy", str(file), "--request", str(request)]) == 0
    return capsys.readouterr().out


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_it_tells_what_would_be_asked_of_another_dialect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = explained(tmp_path, capsys, policy(tmp_path), CHAT)
    assert "1. o (priority group 0, weight 1) → POST http://127.0.0.1:9/u/o/v1/chat/completions\n" in out
    assert "2. a (priority group 1, weight 1) → translated to Anthropic, POST http://127.0.0.1:9, with model m\n" in out
    messages = {**CHAT, "max_tokens": 9}
    out = explained(tmp_path, capsys, policy(tmp_path), messages, "/anthropic/v1/messages")
    assert "1. o (priority group 0, weight 1) → translated to OpenAI, POST http://127.0.0.1:9, with model m\n" in out


def test_it_names_the_model_that_a_name_is_mapped_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = policy(tmp_path)
    text = file.read_text().replace("{name: a, priority: 1}", "{name: a, priority: 1, model: claude-small}")
    file.write_text(text)
    assert "→ translated to Anthropic, POST http://127.0.0.1:9, with model claude-small\n" in explained(
        tmp_path, capsys, file, CHAT
    )


async def test_it_skips_in_the_words_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = {**CHAT, "n": 2, "logprobs": True}
    out = explained(tmp_path, capsys, policy(tmp_path), body)
    async with across(tmp_path, in_order("a o"), RULE) as at, agent(at.running) as http:
        assert (await http.post("/openai/v1/chat/completions", json=body)).status_code == 200
        [noted] = (await at.running.call()).skipped
    assert f"2. a (priority group 1, weight 1): skipped, {noted.removeprefix('a: ')}\n" in out


def test_it_skips_what_has_no_counterpart_and_what_has_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = policy(tmp_path)
    out = explained(tmp_path, capsys, file, {"model": "m", "input": "hi"}, "/openai/v1/embeddings")
    assert re.search(r"2\. a .*: skipped, \w+ is not translated to Anthropic\n", out)
    (tmp_path / "key").unlink()
    out = explained(tmp_path, capsys, file, CHAT)
    assert len(re.findall(rf"[12]\. [ao] .*: skipped, .*{tmp_path}/key", out)) == 2


def test_without_a_body_it_does_not_judge_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["POST", "http://x/openai/v1/chat/completions"]
    assert main(["explain", "--policy", str(policy(tmp_path)), "--request", *words]) == 0
    assert "→ translated to Anthropic, POST http://127.0.0.1:9, if its body can be\n" in capsys.readouterr().out


def test_state_is_explained_at_the_provider_that_can_hold_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"model": "m", "input": "hi", "previous_response_id": "resp_1"}
    out = explained(tmp_path, capsys, policy(tmp_path, "a o"), body, "/openai/v1/responses")
    assert "1. o (priority group 1, weight 1) → POST http://127.0.0.1:9/u/o/v1/responses\n" in out
    assert "2. " not in out


def test_where_no_rule_mixes_dialects_translation_is_not_imported(tmp_path: Path) -> None:
    file, key = tmp_path / "policy.yaml", key_file(tmp_path)
    auth = f"auth: {{type: APIKey, keyFile: {key}}}\n"
    native = upstream("o", "http://127.0.0.1:9/v1", "OpenAI", auth) + upstream(
        "a", "http://127.0.0.1:9", "Anthropic", auth
    )
    file.write_text(native + routes(lambda one: "o" if one == "OpenAI" else "a", RULE))
    program = (
        "import sys; from seawall.cli import main; "
        f"main(['explain', '--policy', {str(file)!r}, '--request', 'GET', 'http://x/openai/v1/models']); "
        "sys.exit('pydantic_ai' in sys.modules)"
    )
    assert _python(program).returncode == 0


# Hides a package from a process of its own, as if it were not installed.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == {name!r} else found(name, package)
from seawall.cli import main
sys.exit(main({words!r}))
"""


@pytest.mark.parametrize("missing", ["pydantic_ai", "anthropic"])
@pytest.mark.parametrize("command", ["serve", "explain"])
def test_a_missing_package_is_one_line_that_names_what_to_install(tmp_path: Path, missing: str, command: str) -> None:
    file = policy(tmp_path)
    words = [command, "--policy", str(file)]
    if command == "explain":
        words += ["--request", "POST", "http://x/openai/v1/chat/completions"]
    else:
        words += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-socket", str(tmp_path / "s")]
    done = _python(HIDE.format(name=missing, words=words))
    assert done.returncode == 2, done.stderr
    [line] = [line for line in done.stderr.splitlines() if ": warning: " not in line]
    assert line.startswith("seawall: ") and "seawall[translate]" in line


def _python(program: str) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(ROOT / "proxy"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=60, check=False
    )
