"""Statements read with sqlglot, in each warehouse's dialect. Imported by `_sql.Sql.load` and nothing else."""

import logging
from collections import Counter
from collections.abc import Container, Iterator

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from seawall.dialects._sql import QUERY, VARYING, Statement
from seawall.dialects._sql_words import DRAWING, varies

# It warns of what it cannot parse, and quotes it: statements are not for logs.
logging.getLogger("sqlglot").disabled = True

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_ACTING = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Set, exp.Drop, exp.Alter, exp.UserDefinedFunction)
_QUOTED = frozenset({TokenType.STRING, TokenType.IDENTIFIER, TokenType.NATIONAL_STRING, TokenType.RAW_STRING})
# What is known to come out of a parser that meets what its makers did not think of.
_BROKEN = (SqlglotError, RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError)

# Known to sqlglot, but they call models and services, read files, or are its own names for parts of statements.
_NOT_READING = (
    "AI_", "A_I_", "M_L_", "ML_", "READ_", "TO_FILE", "TRY_TO_FILE", "SECRET", "GENERATE_TEXT", "GENERATE_TABLE",
    "GENERATE_BOOL", "GENERATE_DOUBLE", "GENERATE_INT", "GENERATE_EMBEDDING", "EMBED", "FORECAST", "PREDICT",
    "NEXT_VALUE", "ANONYMOUS", "IDENTIFIER", "DIRECTORY", "SAFE_FUNC", "NET_FUNC", "COMBINED_", "PARAMETERIZED_",
)  # fmt: skip


def functions(dialect: str) -> frozenset[str]:
    """Names that sqlglot knows as functions of a warehouse, in upper case, less those that do more than read."""
    parser = Dialect.get_or_raise(dialect).parser_class
    names = {name.upper() for name in (*parser.FUNCTIONS, *parser.FUNCTION_PARSERS)}
    return frozenset(name for name in names if name != "GENERATE" and not name.startswith(_NOT_READING))


def parsed(text: str, dialect: str, known: Container[str]) -> Statement:
    """What a statement would do, by its syntax tree. known: names that may stand before a parenthesis."""
    try:
        reader = Dialect.get_or_raise(dialect)
        tokens = reader.tokenize(text)
        while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
            tokens.pop()
        if any(token.token_type is TokenType.SEMICOLON for token in tokens):
            return Statement("is more than one statement")
        trees = [tree for tree in reader.parser().parse(tokens, text) if tree is not None]
        if len(trees) != 1:
            return Statement("is not one statement")
        tree = trees[0]
        if not isinstance(tree, _QUERIES):
            return Statement(f"is {tree.key.upper()}")
        listed: Counter[str] = Counter()
        for node in tree.walk():
            if isinstance(node, _ACTING) or (isinstance(node, exp.CTE) and not _reads(node)):
                return Statement(f"holds {node.key.upper()}")
            if isinstance(node, exp.TableAlias) and node.args.get("columns") and node.name:
                listed[node.name.upper()] += 1
    except _BROKEN:
        return Statement("is not understood")
    words = {token.text.upper() for token in tokens if token.token_type not in _QUOTED}
    if words & DRAWING or tree.find(exp.NextValueFor):
        return Statement("draws from a sequence")
    for name, times in Counter(_called(tokens)).items():
        # `AS t (a, b)` names columns; but a function may have a table's name.
        if name not in known and times > listed[name]:
            return Statement(f"calls {name[:64]}")
    return VARYING if varies(words) else QUERY


def _reads(cte: exp.CTE) -> bool:
    """Whether the named part of a query is a query, or (ClickHouse) an expression."""
    return isinstance(cte.this, _QUERIES) or not isinstance(cte.this, (exp.DML, exp.DDL, exp.Command))


def _called(tokens: list[Token]) -> Iterator[str]:
    """Names that stand before a parenthesis, with all that is before them: `NET.HOST`. Quoted ones keep a quote, so
    that they are nobody's built-in function."""
    for at, token in enumerate(tokens):
        if token.token_type is not TokenType.L_PAREN or at == 0:
            continue
        before = tokens[at - 1]
        if before.token_type is TokenType.IDENTIFIER:
            yield before.text.upper() if _bare(tokens, at - 1) else f'"{before.text}"'
        elif before.token_type not in _QUOTED and (before.text[:1].isalpha() or before.text[:1] == "_"):
            path = [before.text]
            at -= 2
            while at > 0 and tokens[at].token_type is TokenType.DOT:
                path.append(tokens[at - 1].text)
                at -= 2
            yield ".".join(reversed(path)).upper()


def _bare(tokens: list[Token], at: int) -> bool:
    """Not behind a dot."""
    return at == 0 or tokens[at - 1].token_type is not TokenType.DOT
