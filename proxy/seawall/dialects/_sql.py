"""What a SQL statement would do: whether it surely only reads, and whether the same statement is meant to get the same
answer (SEMANTICS §1 and §6). What is not surely understood is not read-only.

Two readers, the quick one first. It knows a query by its words: after quotes and comments are taken out, a statement
that begins with SELECT or WITH, is one statement, holds no word that acts, and calls nothing but built-in functions
that are known to change nothing, reads, whatever its grammar makes of the rest; in these warehouses nothing that acts
can be written without one of those words. What it cannot tell (escapes, unusual signs, names before a parenthesis) is
parsed with sqlglot, in the warehouse's own dialect, up to `LARGEST_PARSED`. sqlglot costs 0.1 s and 18 MB, so it is
imported by `load`, for policies that have a warehouse, and not by the first call.
"""

import hashlib
import importlib
import re
from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seawall.dialects._sql_words import ACTS, ASKING, DRAWING, NOT_FUNCTIONS, PARSED, QUERIES, VERBS, varies

LARGEST = 1024 * 1024
"""Characters; what is longer is not looked into."""
LARGEST_PARSED = 16 * 1024
"""Characters; sqlglot takes 2.5 ms for each thousand, in which nothing else happens in the process."""
REMEMBERED = 8192
"""Verdicts, by a digest of their statement; 250 bytes each, 2 MB a warehouse at most."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one request's SQL would do.

    writes: why it does not surely only read, for people; "" where it does. deterministic: the same statement is meant
    to get the same answer while the tables stay as they are; never of one that writes.
    """

    writes: str = ""
    deterministic: bool = False

    @property
    def read_only(self) -> bool:
        return not self.writes


QUERY = Statement(deterministic=True)
VARYING = Statement()


class _Parser(Protocol):
    def __call__(self, text: str, dialect: str, known: Container[str]) -> Statement: ...


class Sql:
    """Reads statements of one warehouse. Pure, but for the verdicts that it remembers.

    dialect: sqlglot's name. complete: the list of functions here has all that the warehouse comes with, so that names
    which only sqlglot knows may be anybody's. combinators: what may follow the name of an aggregate function.
    """

    def __init__(self, dialect: str, *, complete: bool = False, combinators: tuple[str, ...] = ()) -> None:
        self._dialect = dialect
        self._complete = complete
        self._combinators = combinators
        self._known: Container[str] = ()
        self._parse: _Parser | None = None
        self._verdicts: OrderedDict[bytes, Statement] = OrderedDict()

    def load(self) -> None:
        """Import the parser and read the names of functions; once in a process."""
        if self._parse is not None:
            return
        parser = importlib.import_module("seawall.dialects._sql_parse")
        names = NOT_FUNCTIONS | _names(self._dialect)
        if not self._complete:
            names |= parser.functions(self._dialect)
        if self._combinators:
            self._known = _Combined(names, _names(f"{self._dialect}_aggregates"), self._combinators)
        else:
            self._known = names
        self._parse = parser.parsed

    def read(self, text: str) -> Statement:
        """What a request's statement would do. Never raises."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        verdict = self._verdicts.get(digest)
        if verdict is None:
            verdict = self._verdicts[digest] = self._judge(text)
            if len(self._verdicts) > REMEMBERED:
                self._verdicts.popitem(last=False)
        else:
            self._verdicts.move_to_end(digest)
        return verdict

    def quick(self, text: str) -> Statement | None:
        """The verdict by words alone; None where only a parser can tell."""
        self.load()
        return _quick(text, self._known)

    def parsed(self, text: str) -> Statement:
        """The verdict by the parser alone."""
        self.load()
        assert self._parse is not None
        return self._parse(text, self._dialect, self._known)

    def _judge(self, text: str) -> Statement:
        if len(text) > LARGEST:
            return Statement("is too long to be looked into")
        verdict = self.quick(text)
        if verdict is not None:
            return verdict
        return Statement("is too long to be parsed") if len(text) > LARGEST_PARSED else self.parsed(text)


class _Combined:
    """Names, and those of aggregate functions with what may follow them: `sumIfOrNull`."""

    def __init__(self, names: frozenset[str], aggregates: frozenset[str], combinators: tuple[str, ...]) -> None:
        self._names = names
        self._aggregates = aggregates
        self._combinators = combinators

    def __contains__(self, name: object) -> bool:
        if name in self._names or not isinstance(name, str):
            return name in self._names
        while name not in self._aggregates:
            end = next((c for c in self._combinators if name.endswith(c)), "")
            if not end:
                return False
            name = name.removesuffix(end)
        return True


def _names(file: str) -> frozenset[str]:
    text = (Path(__file__).parent / "sql_functions" / f"{file}.txt").read_text("ascii")
    return frozenset(name for line in text.splitlines() if not line.startswith("#") for name in line.split())


# One of two quotes in a row ends a string and begins the next one, which spans the same.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
# What stands for them. Bytes like these in a statement are traps themselves.
_STRING, _NAME = "\x01", "\x02"
# Outside of quotes. Without \ $ @ # ; and all that is not ASCII.
_PLAIN = re.compile(r"[\w\s\x01\x02.,()\[\]+\-*/%<>=!|&^~?:{}]*+", re.ASCII)
# Signs that begin or join statements somewhere, comments of some, and a name's parts that are not together.
_ODD = (
    *("--", "/*", "//", "->>", "|>", ":=", "{#", "{%", "{{"),
    *(f"{blank}." for blank in " \t\n\r\f\v"),
    *(f".{blank}" for blank in " \t\n\r\f\v"),
)
_WORD = re.compile(r"([\w.\x02]++)\s*+(\()?", re.ASCII)
# Some servers read them as quotes, some do not.
_TRAPS = re.compile("[\x00-\x08\x0e-\x1f\x7f‘’“”«»]")


def _quick(text: str, known: Container[str]) -> Statement | None:
    comments: list[str] = []

    def blank(found: re.Match[str]) -> str:
        span = found[0]
        if span[0] == "'":
            return _STRING
        if span[0] in '"`':
            return _NAME
        comments.append(span)
        return " "

    upper = _QUOTED.sub(blank, text).strip().rstrip("; \t\r\n").upper()
    if _TRAPS.search(text) or any("/*" in span[2:] or "\r" in span.rstrip("\r") for span in comments):
        return Statement("holds what not all parsers read alike")
    if not upper:
        return Statement("is empty")
    first = _WORD.match(upper)
    verb = first[1].partition(".")[0] if first else ""
    if verb.isalpha() and verb not in QUERIES | ASKING | PARSED and verb != "EXPLAIN":
        return Statement(f"begins with {verb[:32]}")
    if "\\" in text or "'''" in text or '"""' in text or not _PLAIN.fullmatch(upper):
        return None
    if any(sign in upper for sign in _ODD):
        return None
    return _by_words(verb, upper, known)


def _by_words(verb: str, upper: str, known: Container[str]) -> Statement | None:
    """A statement without quotes and comments, in upper case, that begins with `verb`."""
    found = _WORD.findall(upper)
    joined = ".".join({word for word, _ in found})
    words = set(joined.replace(_NAME, ".").split("."))
    if not words.isdisjoint(DRAWING) or words.issuperset(("NEXT", "VALUE", "FOR")):
        return Statement("draws from a sequence")
    called = {word for word, call in found if call}
    unknown = [word for word in called if word not in known]
    if unknown:
        unknown = [word for at, (word, call) in enumerate(found) if call and word in unknown and not _named(found, at)]
    calls = f"calls {unknown[0].replace(_NAME, '?')[:64]}" if unknown else ""
    if verb in QUERIES:
        if calls or not words.isdisjoint(ACTS) or upper.count("(") != upper.count(")"):
            return None
        if verb == "WITH" and any(word in VERBS for word, call in found if not call):
            return None
        return VARYING if varies(words) else QUERY
    if verb not in ASKING and verb != "EXPLAIN":
        return None
    acts = words & (VERBS - {"CREATE", "FUNCTION", "PROCEDURE", "SYSTEM"} if verb in ASKING else VERBS)
    return Statement(f"holds {min(acts)}" if acts else calls)


def _named(found: list[tuple[str, str]], at: int) -> bool:
    """`AS t (a, b)` names a table and its columns."""
    return at > 0 and found[at - 1] == ("AS", "") and "." not in found[at][0]
