"""The operator's own certificate authority, and the certificate of it that its service shows. Pure: what a Secret holds
and the time go in; what it is to hold comes out.

A new authority is trusted for a day before anything is signed by it: mounted ConfigMaps take their time to reach pods.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE, LEAF_LIFE = timedelta(days=730), timedelta(days=90)
LEFT = 1 / 3
"""What has less of its life left than this is made anew."""
SPREAD = timedelta(days=1)
"""A new authority is only trusted at first, for so long."""
CLOCKS = timedelta(hours=1)
"""Clocks differ: certificates hold from so long before they were made."""
MAX_AUTHORITIES = 3
_FILES = {"authorities": "ca.crt", "authority_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}


@dataclass(frozen=True, slots=True)
class Held:
    """What the Secret holds, PEM. `authorities`: all that are trusted, the newest first, whose key is beside them."""

    authorities: str = ""
    authority_key: str = ""
    certificate: str = ""
    key: str = ""

    def files(self) -> dict[str, str]:
        """By the names that cert-manager has for them too."""
        return {file: getattr(self, name) for name, file in _FILES.items()}

    def __repr__(self) -> str:
        return "Held(…)"


def held(files: Mapping[str, str]) -> Held:
    """Of a Secret's data, decoded; what is missing is empty."""
    return Held(**{name: files.get(file, "") for name, file in _FILES.items()})


def renewed(before: Held, names: Sequence[str], now: datetime) -> Held | None:
    """None where nothing is due. `names`: host names or addresses that the certificate must have. Where a part is
    missing, all of it is made anew."""
    read = _read(before, now)
    if read is None:
        authority, authority_key = _authority(now)
        return _held([authority], authority_key, *_leaf(authority, authority_key, names, now))
    authorities, authority_key, leaf, key = read
    if _spent(authorities[0], now):
        authority, authority_key = _authority(now)
        authorities = [authority, *authorities][:MAX_AUTHORITIES]
    if _leaf_is_due(leaf, authorities, names, now):
        leaf, key = _leaf(authorities[0], authority_key, names, now)
    after = _held(authorities, authority_key, leaf, key)
    return after if after != before else None


def _leaf_is_due(
    leaf: x509.Certificate, authorities: Sequence[x509.Certificate], names: Sequence[str], now: datetime
) -> bool:
    if _names_of(leaf) != set(names) or leaf.not_valid_after_utc <= now:
        return True
    if not any(_signed(leaf, one) for one in authorities):
        return True
    spread = now - authorities[0].not_valid_before_utc >= CLOCKS + SPREAD
    return spread and (_spent(leaf, now) or not _signed(leaf, authorities[0]))


def _read(
    before: Held, now: datetime
) -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey, x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    try:
        authorities = x509.load_pem_x509_certificates(before.authorities.encode())
        leaf = x509.load_pem_x509_certificate(before.certificate.encode())
        authority_key, key = _key(before.authority_key), _key(before.key)
    except (ValueError, TypeError):
        return None
    if authorities[0].public_key() != authority_key.public_key() or leaf.public_key() != key.public_key():
        return None
    alive = [one for one in authorities if one.not_valid_after_utc > now]
    return (alive, authority_key, leaf, key) if alive[:1] == authorities[:1] else None


def _key(text: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a key that was made here")
    return key


def _spent(certificate: x509.Certificate, now: datetime) -> bool:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (end - now) < (end - begin) * LEFT


def _signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names_of(leaf: x509.Certificate) -> set[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(one.value) for one in found}


def _authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # Its own name for each: chains are built by names, and two authorities are trusted at a time.
    serial = x509.random_serial_number()
    name = _name(f"seawall operator {serial:x}"[:64])
    may = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFE)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(may, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made, key


def _leaf(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    made = (
        _builder(_name("seawall operator"), authority.subject, key.public_key(), now, LEAF_LIFE)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(signer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return made, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    begin = now - CLOCKS
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.not_valid_before(begin).not_valid_after(now + life)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _held(
    authorities: Sequence[x509.Certificate],
    authority_key: ec.EllipticCurvePrivateKey,
    leaf: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> Held:
    return Held("".join(_pem(one) for one in authorities), _private(authority_key), _pem(leaf), _private(key))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form).decode()
