"""Keys: the same question of the same tenant has one, and any difference makes another. Tenants never share."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.cache import CacheSettings, Scope
from seawall.core.cache_key import (
    Keys,
    Question,
    Rule,
    Target,
    Tenants,
    field,
    sorted_query,
    variant_key,
    varied,
)
from seawall.types import Headers

SECRET = b"s" * 32
PLAIN = CacheSettings()
WIDE = CacheSettings(scope=Scope.NAMESPACE)
OPENAI = Target(0, "default/openai", "OpenAI", "https://api.openai.com/v1", "gpt-5")
BACKUP = Target(1, "default/backup", "OpenAI", "https://backup.test/v1", "llama")
RULE = Rule("chat", "0", "OpenAI", (OPENAI, BACKUP))
QUESTION = Question("POST", "/chat/completions", "a=1&b=2", b"{}")
WHOSE = b"t" * 32


def of(
    question: Question = QUESTION, rule: Rule = RULE, whose: bytes = WHOSE, settings: CacheSettings = PLAIN
) -> bytes:
    return Keys(rule, settings).key(whose, question)


@pytest.mark.parametrize(
    "other",
    [
        replace(RULE, route="chat2"),
        replace(RULE, rule="1"),
        replace(RULE, dialect="Anthropic"),
        replace(RULE, targets=(OPENAI,)),
        replace(RULE, targets=(replace(OPENAI, group=1), BACKUP)),
        replace(RULE, targets=(replace(OPENAI, upstream="team/openai"), BACKUP)),
        replace(RULE, targets=(replace(OPENAI, dialect="Anthropic"), BACKUP)),
        replace(RULE, targets=(replace(OPENAI, place="https://eu.api.openai.com/v1"), BACKUP)),
        replace(RULE, targets=(replace(OPENAI, model="gpt-5-mini"), BACKUP)),
    ],
)
def test_any_change_of_who_would_be_asked_for_what_makes_another_key(other: Rule) -> None:
    assert of(rule=other) != of()


@pytest.mark.parametrize(
    "other",
    [
        replace(QUESTION, method="PUT"),
        replace(QUESTION, path="/responses"),
        replace(QUESTION, query="a=1&b=3"),
        replace(QUESTION, query="a=1"),
        replace(QUESTION, body=b"{ }"),
        replace(QUESTION, fields=((b"openai-beta", b"x"),)),
    ],
)
def test_any_change_of_what_is_asked_makes_another_key(other: Question) -> None:
    assert of(other) != of()


def test_one_call_leaves_nothing_in_the_key_of_the_next() -> None:
    keys = Keys(RULE, PLAIN)
    assert keys.key(WHOSE, QUESTION) == keys.key(WHOSE, QUESTION) == of()


def test_a_policy_that_lets_other_answers_be_kept_makes_another_key_and_times_do_not() -> None:
    keys = {of(settings=s) for s in (PLAIN, CacheSettings(nondeterministic=True), CacheSettings(tool_calls=True))}
    assert len(keys) == 3
    assert of(settings=CacheSettings(ttl=5, if_error=7, max_entry=1, store="Disk", timeout=1)) == of()


def test_what_makes_no_difference_makes_no_other_key() -> None:
    assert of(replace(QUESTION, query="b=2&a=1")) == of()
    assert of(rule=replace(RULE, targets=(BACKUP, OPENAI))) == of()
    keyed = replace(QUESTION, query="key=secret&a=1&&b=2")
    assert of(keyed, replace(RULE, credential_parameters=frozenset({"key"}))) == of()
    assert of(keyed) != of()


def test_a_head_is_asked_for_with_the_key_of_a_get() -> None:
    assert of(replace(QUESTION, method="HEAD")) == of(replace(QUESTION, method="GET"))


texts = st.text(max_size=6)


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
def test_no_two_lists_of_parts_look_the_same(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    first, second = (of(replace(QUESTION, path=c), replace(RULE, route=a, rule=b)) for a, b, c in (one, other))
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("b=1&a=2&b=0", "a=2&b=1&b=0"),
        ("key=x&Key=y&a=1&k%65y=w", "a=1"),
        ("monkey=1&api_key=z", "api_key=z&monkey=1"),
        ("", ""),
    ],
)
def test_queries_are_sorted_by_name_and_hold_no_keys_that_the_dialect_knows(query: str, expected: str) -> None:
    assert sorted_query(query, frozenset({"key"})) == expected


# --- tenants


def whose(
    headers: Headers,
    query: str = "",
    settings: CacheSettings = PLAIN,
    *,
    secret: bytes = SECRET,
    namespace: str = "default",
    identity: str = "pod-1",
    replaced: frozenset[bytes] = frozenset(),
    caller: str = "",
) -> bytes:
    tenants = Tenants(
        secret,
        settings,
        namespace=namespace,
        identity=identity,
        named=frozenset({b"authorization", b"x-api-key", b"x-odd"}),
        replaced=replaced,
        parameters=frozenset({"key"}),
    )
    return tenants.tenant(headers, query, caller=caller)


credential_fields = st.sampled_from(
    [b"Authorization", b"x-api-key", b"Cookie", b"X-Goog-Api-Key", b"x-auth-token", b"X-User-Id", b"x-tenant", b"X-Odd"]
)
credentials = st.lists(st.tuples(credential_fields, st.binary(min_size=1, max_size=8)), max_size=3)


@given(credentials, credentials)
def test_two_credentials_are_two_tenants(one: Headers, other: Headers) -> None:
    def sent(headers: Headers) -> list[tuple[bytes, bytes]]:
        return sorted(((name.lower(), value.strip()) for name, value in headers), key=lambda pair: pair[0])

    assert (whose(one) == whose(other)) == (sent(one) == sent(other))


@pytest.mark.parametrize(
    "name",
    [
        "X-UserId", "X-User-Name", "X-TenantId", "X-Scope-OrgID", "X-SessionId", "X-AccessToken",
        "X-Auth-Request-Email", "X-Forwarded-Client-Cert", "X-Client-Id", "X-Consumer-Id", "X-Amzn-Oidc-Identity",
        "X-MS-Client-Principal",
    ],
)  # fmt: skip
def test_fields_by_which_gateways_tell_who_asks_make_other_tenants(name: str) -> None:
    assert whose([(name.encode(), b"a")]) != whose([(name.encode(), b"b")])


def test_fields_that_show_nobody_who_asks_make_no_other_tenant() -> None:
    some: Headers = [(b"Authorization", b"Bearer a")]
    more: Headers = [
        *some,
        (b"User-Agent", b"x"),
        (b"Idempotency-Key", b"1"),
        (b"traceparent", b"00-1"),
        (b"x-stainless-retry-count", b"1"),
        (b"monkey", b"1"),
        (b"x-goog-api-client", b"gl-python/3.13"),
    ]
    assert whose(more) == whose(some)
    assert whose(some, "key=a") != whose(some, "key=b") != whose(some)
    assert whose(some, "a=1") == whose(some)


def test_another_pod_or_secret_is_another_tenant_and_a_namespace_may_be_one() -> None:
    some: Headers = [(b"Authorization", b"Bearer a")]
    other: Headers = [(b"Authorization", b"Bearer b")]
    assert whose(some, identity="pod-2") != whose(some)
    assert whose(some, namespace="team") == whose(some)
    assert whose(some, settings=WIDE, identity="pod-2") == whose(other, settings=WIDE)
    assert whose(some, settings=WIDE, namespace="team") != whose(some, settings=WIDE)
    assert whose(some, settings=WIDE) != whose(some)
    for settings in (PLAIN, WIDE):
        assert whose(some, settings=settings) != whose(some, settings=settings, secret=b"x" * 32)


def test_with_keys_of_the_proxys_own_it_makes_no_difference_who_asks() -> None:
    def of(*headers: tuple[bytes, bytes], **more: str) -> bytes:
        return whose(list(headers), replaced=frozenset({b"authorization"}), **more)  # type: ignore[arg-type]

    one, other = (b"Authorization", b"Bearer a"), (b"authorization", b"Bearer b")
    assert of(one) == of(other) == of()
    assert of(one) != of(one, identity="pod-2")
    assert len({of(one, caller=caller) for caller in ("", "a", "b")}) == 3
    # What is not replaced reaches the upstream, which may go by it.
    assert len({of(one, (b"Cookie", value)) for value in (b"a", b"b")} | {of(one)}) == 3


def test_tenants_with_one_question_have_two_keys() -> None:
    keys = {of(whose=whose([(b"Authorization", b"Bearer " + who)])) for who in (b"a", b"b")}
    assert len(keys) == 2


# --- variants


def test_an_answer_that_varies_has_a_key_for_each_value() -> None:
    def variant(*headers: tuple[bytes, bytes], names: tuple[bytes, ...] = (b"accept",)) -> bytes:
        return variant_key(WHOSE, names, list(headers))

    assert variant(names=()) == WHOSE
    plain = variant((b"Accept", b"text/plain, */*"))
    assert plain == variant((b"ACCEPT", b"text/plain"), (b"accept", b"*/*"))
    assert len({plain, variant(), variant((b"Accept", b"")), variant((b"Accept", b"text/html")), WHOSE}) == 5
    both = (b"accept", b"x-a")
    assert variant((b"accept", b"1"), (b"x-a", b"2"), names=both) != variant((b"accept", b"12"), names=both)


def test_what_is_kept_of_a_request_holds_no_credential() -> None:
    headers: Headers = [(b"Authorization", b"Bearer secret"), (b"Accept", b"a")]
    found = dict(varied(WHOSE, (b"accept", b"authorization", b"cookie"), headers))
    assert found[b"accept"] == b"a"
    assert found[b"cookie"] is None
    kept = found[b"authorization"]
    assert kept is not None
    assert b"secret" not in kept


# --- fields


def test_versions_and_betas_are_sets_of_words() -> None:
    name = b"anthropic-beta"
    one = field([(b"Anthropic-Beta", b"b, a"), (b"anthropic-beta", b"c,a")], name)
    assert one == (name, b"a,b,c")
    assert field([(b"anthropic-beta", b" ")], name) is None
    assert field([], name) is None
