"""Whatever a file holds, loading ends with a policy or with errors; never with an exception."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall.policy import Loaded, evaluate, has_errors, load_policy, load_text
from seawall.policy.kinds import KINDS
from seawall.policy.load import Documents, load_files, load_objects
from seawall.policy.wording import aliases

EXAMPLE = (Path(__file__).parents[3] / "config" / "policy.yaml").read_text()
BENCH = (Path(__file__).parents[3] / "bench" / "policy.yaml").read_text()


def consistent(documents: Documents) -> Loaded:
    found = evaluate(documents)
    assert (found.policy is None) == has_errors(found.issues)
    assert all(len(str(issue).splitlines()) == 1 for issue in found.issues)
    return found


def _words() -> list[str]:
    models: list[Any] = list(KINDS.values())
    seen, words = set(models), set(KINDS)
    while models:
        model = models.pop()
        words |= set(aliases(model))
        for other in model.__pydantic_fields__.values():
            for inner in _models(other.annotation):
                if inner not in seen:
                    seen.add(inner)
                    models.append(inner)
    return sorted(words)


def _models(annotation: Any) -> list[Any]:
    if hasattr(annotation, "__pydantic_fields__"):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in _models(arg)]


WORDS = st.sampled_from(
    [*_words(), "seawall.dev/v1alpha1", "10s", "4Mi", "20%", "openai", "/v1", "OpenAI", "https://a", "<<"]
)
SCALARS = WORDS | st.integers() | st.booleans() | st.none() | st.floats() | st.text(max_size=8)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6), max_leaves=25
)
DOCUMENTS = st.builds(
    lambda kind, name, spec, more: {
        "apiVersion": "seawall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec, **more,
    },
    st.sampled_from(list(KINDS)), st.sampled_from(["a", "openai", "A!", ""]), DATA,
    st.dictionaries(WORDS, DATA, max_size=1),
)  # fmt: skip


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    consistent(load_text(text))


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(data)
    consistent(load_files([file]))


@given(st.lists(st.sampled_from("[]{}:,-?&*!|>'\"%@`#\n\t aA0~<.") | WORDS, max_size=60).map("".join))
def test_any_text_of_yaml_characters(text: str) -> None:
    consistent(load_text(text))


@given(st.lists(DOCUMENTS, max_size=3))
def test_any_structure_of_known_words(documents: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump_all(documents)
    from_text, from_objects = load_text(text), load_objects(documents)
    consistent(from_text)
    consistent(from_objects)


@pytest.mark.parametrize("text", [EXAMPLE, BENCH], ids=["config", "bench"])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_any_damage_to_a_good_file(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.text(max_size=5) | WORDS) + text[at + gone :]
    consistent(load_text(text))


@pytest.mark.parametrize("path", ["", ".", "gone", "a\0b", "x" * 300, "gone/" * 2000, "\udcff"])
def test_any_path(tmp_path: Path, path: str) -> None:
    consistent(load_files([tmp_path / path]))
    assert load_policy([tmp_path / path]).policy is None
