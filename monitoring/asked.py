"""What an expression of PromQL asks for: series and labels. Enough of the grammar for what is written here; a function
that it does not know is a metric that is not there."""

import re
from collections.abc import Iterable, Mapping

from monitoring.definitions import Definition

# What Prometheus adds to what it scrapes, and what a histogram's buckets have.
TARGET_LABELS = frozenset({"namespace", "pod", "container", "job", "instance", "le"})
_AGGREGATIONS = ("sum", "max", "min", "count", "topk", "by", "on", "group_left", "and", "or")
_FUNCTIONS = ("rate", "increase", "histogram_quantile", "vector", "absent")
_WORDS = frozenset((*_AGGREGATIONS, *_FUNCTIONS))
_GROUPS = re.compile(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_TEXT = re.compile(r'"[^"]*"')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_RANGE = re.compile(r"\[[^\]]*\]")
_NUMBER = re.compile(r"\b\d[\w.]*")


def series(expression: str) -> set[str]:
    """The names of its series."""
    bare = _NUMBER.sub("", _RANGE.sub("", _MATCHERS.sub("", _GROUPS.sub("", _TEXT.sub("", expression)))))
    return set(_NAME.findall(bare)) - _WORDS


def labels(expression: str) -> set[str]:
    """The labels that it groups by, or selects by."""
    found: set[str] = set()
    plain = _TEXT.sub('""', expression)
    for group in (*_GROUPS.findall(plain), *_MATCHERS.findall(plain)):
        found |= {name.strip() for name in re.split(r'[=!~"]+|,', group) if name.strip()}
    return found


def mistakes(expressions: Iterable[str], known: Mapping[str, Definition]) -> list[str]:
    """What expressions ask for in vain, in words."""
    found = []
    for expression in expressions:
        names = series(expression)
        found += [f"no metric {name}: {expression}" for name in sorted(names - known.keys())]
        if not names:
            found.append(f"no metric at all: {expression}")
        has = TARGET_LABELS.union(*(known[name].labels for name in names & known.keys()))
        found += [f"no label {label}: {expression}" for label in sorted(labels(expression) - has)]
    return found
