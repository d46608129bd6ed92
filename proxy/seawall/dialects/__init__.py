"""Providers' wire protocols, one public module each. A new dialect is a new module, an instance in `_DIALECTS`, and one
name fewer in `policy/unimplemented.py` (documents stand alone and can not ask here).
"""

from collections.abc import Mapping
from types import MappingProxyType

from seawall.dialects.anthropic import Anthropic
from seawall.dialects.azure_openai import AzureOpenAI
from seawall.dialects.base import Dialect
from seawall.dialects.bedrock import Bedrock
from seawall.dialects.bigquery import BigQuery
from seawall.dialects.clickhouse import ClickHouse
from seawall.dialects.databricks import Databricks
from seawall.dialects.gemini import Gemini
from seawall.dialects.generic import Generic
from seawall.dialects.openai import OpenAI
from seawall.dialects.snowflake import Snowflake
from seawall.dialects.trino import Trino
from seawall.types import Head

_DIALECTS: tuple[Dialect, ...] = (
    OpenAI(), AzureOpenAI(), Anthropic(), Gemini(), Bedrock(),
    Snowflake(), Databricks(), BigQuery(), Trino(), ClickHouse(),
    Generic(),
)  # fmt: skip

REGISTRY: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in _DIALECTS})
"""By the name in an Upstream's `dialect`."""


def dialect_for_bare(head: Head) -> Dialect | None:
    """The dialect whose own path this is (`/v1/messages`), without a route's prefix; None when it is nobody's."""
    return next((dialect for dialect in _DIALECTS if dialect.claims(head)), None)
