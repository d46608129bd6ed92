"""Values from JSON schemas: whatever pydantic writes as a schema, it accepts what the lab makes of it."""

import enum
import re
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import GenericAlias
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, TypeAdapter, create_model

from seawall.lab.pattern import sample
from seawall.lab.schema import SchemaError, instance


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    name: str
    children: list["Node"] = Field(default_factory=list)
    parent: "Node | None" = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Order(BaseModel):
    id: uuid.UUID
    code: Annotated[str, Field(pattern=r"^[A-Z]{3}-\d{4}(-[a-f]+)?$")]
    title: Annotated[str, Field(min_length=12, max_length=20)]
    total: Annotated[Decimal, Field(gt=0)]
    share: Annotated[float, Field(gt=0, lt=1)]
    step: Annotated[int, Field(multiple_of=7, ge=8)]
    tags: Annotated[list[str], Field(min_length=2)]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    colour: Colour
    due: date
    made: datetime
    took: timedelta
    site: AnyUrl
    notes: dict[str, int]
    pair: tuple[int, str]
    root: Node
    maybe: int | None
    flag: bool


@pytest.mark.parametrize("model", [Order, Node, Cat])
def test_pydantic_accepts_what_is_made_of_its_schema(model: type[BaseModel]) -> None:
    made = instance(model.model_json_schema())
    assert model.model_validate(made)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Containers of such types; built at run time, hence through the typing objects' own subscription."""
    return st.one_of(
        inner.map(lambda kind: GenericAlias(list, (kind,))),
        inner.map(lambda kind: GenericAlias(dict, (str, kind))),
        inner.map(Optional.__getitem__),
        st.tuples(inner, inner).map(lambda pair: GenericAlias(tuple, pair)),
    )


LEAVES = [int, float, str, bool, date, uuid.UUID, Decimal, Colour, Node, Cat, Literal["a", 3]]
TYPES = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=5)


@given(st.lists(TYPES, min_size=1, max_size=4))
def test_any_model_of_common_types_is_satisfied(kinds: list[Any]) -> None:
    fields: dict[str, Any] = {f"field{number}": (kind, ...) for number, kind in enumerate(kinds)}
    model = create_model("Made", **fields)
    assert model.model_validate(instance(model.model_json_schema()))


@given(st.integers(-50, 50), st.integers(1, 50), st.integers(1, 9))
def test_bounded_numbers_stay_in_their_bounds(low: int, room: int, step: int) -> None:
    kind = Annotated[int, Field(gt=low, lt=low + room + step + 1, multiple_of=step)]
    adapter: TypeAdapter[int] = TypeAdapter(kind)
    assert adapter.validate_python(instance(adapter.json_schema())) % step == 0


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}-\d{4}$",
        r"^(cat|dog)s?$",
        r"^\w+@\w+\.com$",
        r"^(?=.*\d)[a-z]+\d$",
        r"[^a-z]{2,}",
        r"^(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])$",
        r"^$",
        r"\bword\b",
        r"^[\]x]{2}$",
    ],
)
def test_strings_match_their_pattern(pattern: str) -> None:
    made = sample(pattern)
    assert made is not None
    assert re.search(pattern, made)


@given(st.text(max_size=30))
def test_no_pattern_crashes_the_sampler(pattern: str) -> None:
    made = sample(pattern)
    assert made is None or re.search(pattern, made) is not None


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    )
)
def test_a_schema_that_is_none_still_gives_a_value(schema: object) -> None:
    assert instance(schema) is not NotImplemented


def test_a_schema_that_asks_for_millions_of_values_is_refused() -> None:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(5):
        schema = {"type": "array", "minItems": 1000, "items": schema}
    with pytest.raises(SchemaError, match="too large"):
        instance(schema)
