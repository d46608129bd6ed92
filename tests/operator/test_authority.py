"""The operator's own certificates through the years."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from seawall_operator.authority import AUTHORITY_LIFE, LEAF_LIFE, SPREAD, Held, held, renewed

NAMES = ["seawall-operator.seawall.svc", "10.0.0.1"]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def first(names: list[str] = NAMES) -> Held:
    made = renewed(Held(), names, BEGIN)
    assert made is not None
    return made


def authorities(of: Held) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(of.authorities.encode())


def leaf(of: Held) -> x509.Certificate:
    return x509.load_pem_x509_certificate(of.certificate.encode())


def test_what_is_made_is_for_these_names_and_signed_by_what_is_trusted() -> None:
    made = first()
    names = leaf(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(one.value) for one in names} == set(NAMES)
    leaf(made).verify_directly_issued_by(authorities(made)[0])
    assert ssl.create_default_context(cadata=made.authorities).cert_store_stats()["x509_ca"] == 1
    assert renewed(made, NAMES, BEGIN) is None
    assert held(made.files()) == made


def test_a_key_is_in_no_repr() -> None:
    assert "PRIVATE" not in repr(first())


def test_a_certificate_is_made_anew_when_a_third_of_its_life_is_left_and_trusted_as_the_last_one_was() -> None:
    made = first()
    assert renewed(made, NAMES, BEGIN + LEAF_LIFE * 0.6) is None
    after = renewed(made, NAMES, BEGIN + LEAF_LIFE * 0.7)
    assert after is not None and after.certificate != made.certificate
    assert (after.authorities, after.authority_key) == (made.authorities, made.authority_key)


def test_other_names_take_another_certificate_at_once() -> None:
    made = first()
    after = renewed(made, ["elsewhere"], BEGIN)
    assert after is not None and after.authorities == made.authorities and after.certificate != made.certificate
    assert renewed(after, ["elsewhere"], BEGIN) is None


def test_a_new_authority_is_trusted_a_day_before_it_signs_and_the_old_one_until_its_end() -> None:
    now, state = BEGIN, first()
    old = authorities(state)[0]
    while len(authorities(state)) == 1:
        now += DAY / 2
        state = renewed(state, NAMES, now) or state
    added = now
    assert added < BEGIN + AUTHORITY_LIFE * 0.7
    assert authorities(state)[1] == old
    leaf(state).verify_directly_issued_by(old)
    while leaf(state).issuer == old.subject:
        now += DAY / 4
        state = renewed(state, NAMES, now) or state
    assert SPREAD <= now - added <= SPREAD + DAY / 4
    leaf(state).verify_directly_issued_by(authorities(state)[0])
    assert old in authorities(state)


def test_through_ten_years_of_daily_looks_what_is_shown_is_always_valid_and_was_trusted_a_day_before() -> None:
    now, state = BEGIN, first()
    trusted = {one.serial_number: BEGIN for one in authorities(state)}
    made = 0
    while now < BEGIN + 3650 * DAY:
        now += DAY
        after = renewed(state, NAMES, now)
        if after is not None:
            made += 1
            state = after
            for one in authorities(state):
                trusted.setdefault(one.serial_number, now)
        shown, signers = leaf(state), authorities(state)
        signer = next(one for one in signers if one.subject == shown.issuer)
        assert shown.not_valid_after_utc - now > LEAF_LIFE / 4 and signer.not_valid_after_utc > now
        assert trusted[signer.serial_number] == BEGIN or now - trusted[signer.serial_number] >= SPREAD
    assert 50 < made < 100, "about each two months, and no more often"
    assert len(authorities(state)) <= 3


@pytest.mark.parametrize("file", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_where_a_part_is_missing_or_of_another_one_all_is_made_anew(file: str) -> None:
    for wrong in ("", "nonsense", first().files()[file]):
        broken = held({**first().files(), file: wrong})
        after = renewed(broken, NAMES, BEGIN)
        assert after is not None
        leaf(after).verify_directly_issued_by(authorities(after)[0])
        assert renewed(after, NAMES, BEGIN) is None


def test_after_a_sleep_of_years_all_is_made_anew() -> None:
    after = renewed(first(), NAMES, BEGIN + 2 * AUTHORITY_LIFE)
    assert after is not None and len(authorities(after)) == 1
    assert leaf(after).not_valid_after_utc > BEGIN + 2 * AUTHORITY_LIFE
