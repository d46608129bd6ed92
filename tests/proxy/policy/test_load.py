"""Every mistake in every file is named in one run, with file, line, field path and a hint; nothing raises."""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from seawall.policy import Issue, load_policy, load_text
from seawall.policy.load import load_objects
from seawall.policy.nodes import MAX_DEPTH

ROUTE = """\
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {name: chat}
spec:
  rules:
    - backendRefs: [{name: openai}]
"""
UPSTREAM = """\
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata: {name: openai}
spec:
  dialect: OpenAI
  baseURL: https://api.openai.com/v1
"""
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in pairwise("abcdefghi")
)


def issues(text: str) -> list[str]:
    return [str(issue) for issue in load_text(text, "p.yaml").issues]


def only(text: str) -> Issue:
    (issue,) = load_text(text, "p.yaml").issues
    return issue


def test_an_issue_reads_file_line_severity_path_message_and_hint() -> None:
    text = ROUTE + "      retry:\n        attempt: 3\n"
    assert issues(text) == ["p.yaml:8: error: spec.rules[0].retry.attempt: unknown field (did you mean `attempts`?)"]


def test_all_errors_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(UPSTREAM + "  timeout: {}\n---\nkind: Route\n")
    (tmp_path / "b.yaml").write_text("- 1\n")
    (tmp_path / "c.yaml").write_text("a: [\n")
    found = load_policy([tmp_path, tmp_path / "gone.yaml"])
    assert found.policy is None
    assert [(Path(i.file).name, i.line, i.message) for i in found.issues if i.severity == "error"] == [
        ("a.yaml", 7, "unknown field"),
        ("a.yaml", 9, "required field is missing"),
        ("b.yaml", 1, "a document must be a mapping with apiVersion and kind"),
        ("c.yaml", 2, "not valid YAML: did not find expected node content"),
        ("gone.yaml", 0, "cannot be read: No such file or directory"),
    ]


def test_a_document_that_is_no_yaml_does_not_hide_the_errors_of_the_others() -> None:
    found = load_text(f"a: [\n---\n{UPSTREAM}  nope: 1\n---\nb: }}\n", "p.yaml")
    assert sorted(i.line for i in found.issues) == [2, 9, 11]


def test_a_wrong_field_does_not_hide_what_checks_find_in_the_same_document(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"{UPSTREAM}---\n{ROUTE}      retries: 1\n      timeouts: {{request: 5s, backendRequest: 9s}}\n")
    assert [i.path for i in load_policy([file]).issues] == [
        "spec.rules[0].retries",
        "spec.rules[0].timeouts.backendRequest",
    ]


@pytest.mark.parametrize(
    ("field", "path", "message", "hint"),
    [
        ("timeouts: {request: 10}", "timeouts.request", "must be a duration", "strings such as 10s or 500ms"),
        ("timeouts: {connect: 0s}", "timeouts.connect", "must be longer than 0s", ""),
        ("timeouts: {request: -5}", "timeouts.request", "must be a duration", "such as 10s"),
        ("timeouts: {request: 100000}", "timeouts.request", "must be a duration", "such as 10s"),
        ("timeouts: {request: 1:30}", "timeouts.request", "must be a duration", "such as 90s"),
        ("retry: {attempts: '3'}", "retry.attempts", "must be a whole number, not text", "remove the quotes"),
        ("retry: {attempts: 2.0}", "retry.attempts", "must be a whole number, not a number", ""),
        ("retry: {attempts: yes}", "retry.attempts", "must be a whole number, not a boolean", ""),
        ("retry: {attempts: 11}", "retry.attempts", "less than or equal to 10", ""),
        ("retry: {codes: 503}", "retry.codes", "must be a list, not a number", "begin each item with `- `"),
        ("retry: {codes: [99]}", "retry.codes[0]", "greater than or equal to 400", ""),
        ("retry: fast", "retry", "must be a mapping of fields, not text", ""),
        ("streaming: {commit: firstcontent}", "streaming.commit", "must be one of", "did you mean `FirstContent`?"),
        ("streaming: {commit: off}", "streaming.commit", "must be one of", "YAML reads unquoted yes, no, on, off"),
        ("streaming: {maxHold: 8MB}", "streaming.maxHold", "must be a size", "4Mi"),
        ("streaming: {minProgress: {events: 1}}", "streaming.minProgress.interval", "required field is missing", ""),
        ("name: 5", "name", "must be text, not a number", "quote it"),
        ("name: Chat", "name", "is not in the form", ""),
        ("baseURL: x", "baseURL", "unknown field", "known here: "),
        ("request: 5s", "request", "unknown field", "`request` belongs to `spec.rules[].timeouts`"),
        ("fallbackOn: [NotFoud]", "fallbackOn[0]", "must be one of", "did you mean `NotFound`?"),
        ("matches: [{path: {value: v1}}]", "matches[0].path.value", "must be an absolute path", ""),
        ("matches: [{models: ['a*b']}]", "matches[0].models[0]", "is not in the form", ""),
    ],
)  # fmt: skip
def test_wrong_values_get_a_path_and_a_hint(field: str, path: str, message: str, hint: str) -> None:
    issue = only(f"{ROUTE}      {field}\n")
    assert (issue.line, issue.path) == (7, f"spec.rules[0].{path}")
    assert message in issue.message
    assert hint in issue.hint


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://a", "must be an http or https URL"),
        ("https://", "must be an http or https URL"),
        ("https://a:99999", "is not a valid URL"),
        ("https://a/v1?key=hunter2", "must not have a query or fragment"),
        ("https://me:hunter2@a", "must not hold a user or password"),
        ("https://a/b c", "must be a URL without spaces"),
    ],
)
def test_a_bad_base_url_is_refused_and_never_repeated(url: str, message: str) -> None:
    issue = only(UPSTREAM.replace("https://api.openai.com/v1", url))
    assert issue.path == "spec.baseURL"
    assert message in issue.message
    assert "hunter2" not in str(issue)


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    found = issues(UPSTREAM + "  auth: {type: APIKey, key: sk-hunter2, keyFile: [sk-hunter2]}\n")
    assert len(found) == 2
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("head", "message", "hint"),
    [
        ("apiVersion: v1\nkind: ConfigMap\n", "not a seawall document", "only seawall.dev/v1alpha1 documents"),
        ("apiVersion: seawall.dev/v1\nkind: Upstream\n", "unknown version", "use seawall.dev/v1alpha1"),
        ("apiVersion: seawal.dev/v1alpha1\nkind: Upstream\n", "unknown apiVersion", "did you mean"),
        ("kind: Upstream\n", "required field is missing", "apiVersion: seawall.dev/v1alpha1"),
        ("apiVersion: seawall.dev/v1alpha1\n", "required field is missing", "one of Upstream"),
        ("apiVersion: seawall.dev/v1alpha1\nkind: upstream\n", "unknown kind", "did you mean `Upstream`?"),
    ],
)
def test_what_is_no_known_document_says_what_would_be(head: str, message: str, hint: str) -> None:
    issue = load_text(head, "p.yaml").issues[0]
    assert message in issue.message
    assert hint in issue.hint


def test_a_key_that_is_there_twice_is_an_error_at_the_second() -> None:
    issue = only(ROUTE + "      retry: {}\n      retry: {attempts: 1}\n")
    assert (issue.line, issue.path, issue.message) == (8, "spec.rules[0].retry", "the key is there twice")


def test_the_same_document_twice_names_the_first(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(UPSTREAM)
    errors = [issue for issue in load_policy([tmp_path]).issues if issue.severity == "error"]
    assert [(Path(e.file).name, e.line, e.message) for e in errors] == [
        ("b.yaml", 3, "Upstream default openai is there twice")
    ]
    assert errors[0].hint == f"the first one is at {tmp_path / 'a.yaml'}:3"


def test_python_names_are_not_part_of_the_format() -> None:
    found = issues(UPSTREAM.replace("baseURL", "base_url"))
    assert [line.split(": ", 2)[2] for line in found] == [
        "spec.baseURL: required field is missing",
        "spec.base_url: unknown field (did you mean `baseURL`?)",
    ]


def test_empty_documents_and_comments_are_skipped() -> None:
    found = load_text(f"---\n---\n# nothing\n---\n{UPSTREAM}---\n")
    assert not found.issues
    assert len(found.readable) == 1


def test_a_file_without_documents_is_an_error_so_that_a_half_written_file_keeps_the_old_policy(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("")
    found = load_policy([tmp_path / "p.yaml"])
    assert found.policy is None
    assert found.issues[0].message == "the files hold no documents"


def test_anchors_and_merge_keys_work_and_explicit_keys_win() -> None:
    text = ROUTE + "      timeouts: &t {request: 50s, connect: 3s}\n    - timeouts: {<<: *t, request: 9s}\n"
    (located,) = load_text(text).readable
    timeouts = located.document.model_dump(exclude_none=True)["spec"]["rules"][1]["timeouts"]
    assert timeouts == {"request": "9s", "connect": "3s"}


def test_a_kubectl_list_is_its_items() -> None:
    body = UPSTREAM.replace("\n", "\n    ")
    found = load_text(f"apiVersion: v1\nkind: List\nitems:\n  - {body}  nope: 1\n", "p.yaml")
    assert [str(i) for i in found.issues] == [
        "p.yaml:10: error: spec.nope: unknown field (known here: timeouts, retryConstraint, circuitBreaker, "
        "concurrency, rateLimit, healthCheck, type, baseURL, dialect, auth, tls, proxy, hostHeader, statements, models)"
    ]


@pytest.mark.parametrize(
    "bomb",
    [
        LAUGHS,
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 50_000,
        "&a [" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "x: [" + "1," * 400_000 + "]",
    ],
    ids=["laughs", "own list", "own mapping", "lists", "mappings", "items", "just too deep", "long"],
)  # fmt: skip
def test_a_bomb_ends_quickly_with_one_error(bomb: str) -> None:
    before = time.process_time()
    issue = only(bomb)
    assert "aliases expanded" in issue.message
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff\n", "not UTF-8 text"),
        (b"a: \x00\n", "not valid YAML: a character that YAML does not allow"),
        (b"a:\n\t- 1\n", "not valid YAML: found character that cannot start any token"),
        (b"a: *nowhere\n", "not valid YAML: found undefined alias"),
        (b"a: !!python/object:os.system x\n", "tag"),
        (b"? [a]\n: b\n", "a key must be text, not a list or mapping"),
        (b"a: !!int x\n", "not a YAML int"),
        (b"a: !!int ''\n", "not a YAML int"),
        (b"a: " + b"9" * 5000 + b"\n", "not a YAML int"),
        (b"#" * (4 * 1024 * 1024 + 1), "larger than 4 MiB"),
    ],
)
def test_bytes_that_are_no_policy_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "p.yaml").write_bytes(data)
    found = load_policy([tmp_path / "p.yaml"])
    assert found.policy is None
    assert any(message in issue.message for issue in found.issues)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"\xef\xbb\xbf" + UPSTREAM.encode())
    assert load_policy([tmp_path / "p.yaml"]).policy is not None


def test_a_directory_is_its_yaml_files_by_name_as_a_configmap_mounts_them(tmp_path: Path) -> None:
    data = tmp_path / "..data"
    data.mkdir()
    (data / "b.yaml").write_text(ROUTE)
    (data / "a.yaml").write_text(UPSTREAM)
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(data / name)
    (tmp_path / "notes.txt").write_text("not: [yaml")
    found = load_policy([tmp_path])
    assert not found.issues
    assert [located.document.KIND for located in found.documents.readable] == ["Upstream", "AgentRoute"]


def test_an_issue_is_one_line_whatever_a_key_holds() -> None:
    (line,) = issues(UPSTREAM + '  "a\\nb\\u2028error: c": 1\n')
    assert len(line.splitlines()) == 1
    assert 'spec["a\\nb\\u2028error: c"]' in line


def test_many_errors_in_one_document_are_counted_not_listed() -> None:
    found = issues(UPSTREAM + "".join(f"  x{i}: 1\n" for i in range(300)))
    assert len(found) == 101
    assert "200 more errors in this document" in found[-1]


def test_objects_from_an_api_server_name_themselves_instead_of_a_file() -> None:
    found = load_objects([{"apiVersion": "seawall.dev/v1alpha1", "kind": "Upstream", "metadata": {"name": "a"}}])
    assert str(found.issues[0]) == "Upstream default a: error: spec: required field is missing"
