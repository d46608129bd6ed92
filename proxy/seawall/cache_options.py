"""Options that say where a process keeps answers, and whose they are: what a policy cannot know."""

import argparse
from pathlib import Path

from seawall.arguments import Option, size, size_or_share
from seawall.store.places import Places

OPTIONS = (
    Option(
        "--cache-memory",
        size_or_share(32 * 2**20, 8),
        "auto",
        "memory for kept answers, cache.store Memory; auto: 32Mi, at most an eighth of the container's limit",
        "SIZE",
    ),
    Option("--cache-folder", str, "", "where they are on disk, cache.store Disk", "PATH"),
    Option("--cache-disk", size, "1Gi", "what they may take there", "SIZE"),
    Option("--cache-redis", str, "", "where they are for cache.store Redis: redis://, with TLS rediss://", "URL"),
    Option("--cache-redis-password-file", str, "", "of that, read anew with each connection", "PATH"),
    Option("--cache-redis-ca-file", str, "", "of the authority that signs its certificate", "PATH"),
    Option(
        "--cache-key-file", str, "", "a secret of 32 bytes or more that tells tenants apart; replicas share it", "PATH"
    ),
    Option(
        "--cache-identity", str, "", "whose answers those are that seawall's own keys paid for; else the host", "NAME"
    ),
)


def places(arguments: argparse.Namespace) -> Places:
    """What they say."""

    def path(text: str) -> Path | None:
        return Path(text) if text else None

    return Places(
        memory=arguments.cache_memory,
        folder=path(arguments.cache_folder),
        disk=arguments.cache_disk,
        redis=arguments.cache_redis,
        redis_password_file=path(arguments.cache_redis_password_file),
        redis_ca_file=path(arguments.cache_redis_ca_file),
        key_file=path(arguments.cache_key_file),
        identity=arguments.cache_identity,
    )
