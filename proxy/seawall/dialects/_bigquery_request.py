"""What BigQuery's two requests for work hold: jobs.query and jobs.insert."""

import hashlib
from dataclasses import dataclass

import msgspec

from seawall.dialects import _warehouse as warehouse
from seawall.dialects._json import read
from seawall.dialects._sql import Sql
from seawall.dialects.hints import LONGEST
from seawall.types import Safety

SQL = Sql("bigquery")

NO_MATTER = frozenset(
    {"requestId", "timeoutMs", "jobTimeoutMs", "labels", "jobCreationMode", "useQueryCache", "maximumBytesBilled"}
)
"""Of jobs.query: who asks, how long it is waited for and what it may cost."""

_LONGEST_ID = 1024


class _Property(msgspec.Struct, gc=False):
    key: object = None


class _Query(msgspec.Struct, gc=False, rename="camel"):
    query: object = None
    request_id: object = None
    timeout_ms: object = None
    dry_run: object = None
    create_session: object = None
    connection_properties: list[_Property] | None = None


class _Reference(msgspec.Struct, gc=False, rename="camel"):
    job_id: object = None
    location: object = None


class _Configured(msgspec.Struct, gc=False, rename="camel"):
    """A job's query. Its result has a table of its own where none is named."""

    query: object = None
    destination_table: object = None
    create_session: object = None


class _Configuration(msgspec.Struct, gc=False, rename="camel"):
    query: _Configured | None = None
    dry_run: object = None


class _Job(msgspec.Struct, gc=False, rename="camel"):
    job_reference: _Reference | None = None
    configuration: _Configuration | None = None


_QUERY = msgspec.json.Decoder(_Query)
_JOB = msgspec.json.Decoder(_Job)


_DRY = warehouse.Reading(Safety.SAFE, "", deterministic=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """never: why its answer is never kept, "" where it may be. digest: of a job's SQL. patience: see `Facts`."""

    reading: warehouse.Reading
    never: str = ""
    job_id: str = ""
    location: str = ""
    digest: str = ""
    patience: float = 0.0


def query(body: bytes) -> Asked:
    """Of jobs.query. A `requestId` makes it idempotent for 15 minutes."""
    asked = read(_QUERY, body) or _Query()
    keyed = isinstance(asked.request_id, str) and asked.request_id != ""
    # Variables and temporary tables stay in a session, and nobody else has them.
    found = _reading(None if asked.create_session else asked.query, asked.dry_run, keyed=keyed)
    session = asked.create_session or any(one.key == "session_id" for one in asked.connection_properties or ())
    never = "session" if session else "dry run" if found is _DRY else ""
    return Asked(found, never, patience=seconds(asked.timeout_ms))


def job(body: bytes) -> Asked:
    """Of jobs.insert. A `jobId` is made once."""
    asked = read(_JOB, body) or _Job()
    reference, configuration = asked.job_reference or _Reference(), asked.configuration or _Configuration()
    configured = configuration.query or _Configured()
    job_id = reference.job_id if isinstance(reference.job_id, str) else ""
    job_id = job_id if len(job_id) <= _LONGEST_ID else ""
    writes = configured.destination_table is not None or configured.create_session
    found = _reading(None if writes else configured.query, configuration.dry_run, keyed=job_id != "")
    location = reference.location if isinstance(reference.location, str) else ""
    return Asked(found, job_id=job_id, location=location, digest=digest_of(configured.query))


def digest_of(sql: object) -> str:
    """ "" where a job has no SQL."""
    return hashlib.sha256(sql.encode("utf-8", "surrogatepass")).hexdigest() if isinstance(sql, str) else ""


def made_of(body: bytes) -> str:
    """The digest of a job that is there: its answer repeats what it was asked."""
    configuration = (read(_JOB, body) or _Job()).configuration or _Configuration()
    return digest_of((configuration.query or _Configured()).query)


def seconds(milliseconds: object) -> float:
    """Of a `timeoutMs`, a number or its text; 0 for what is none, or longer than a day."""
    try:
        found = int(milliseconds) / 1000 if isinstance(milliseconds, int | str) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return found if 0 < found <= LONGEST else 0.0


def _reading(sql: object, dry_run: object, *, keyed: bool) -> warehouse.Reading:
    return _DRY if dry_run is True else warehouse.reading(SQL, sql, keyed=keyed)
