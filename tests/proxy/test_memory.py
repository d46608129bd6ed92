"""What a container's memory limit leaves for each thing that may fill it."""

from pathlib import Path

import pytest

from seawall.memory import limit, share

MIB = 2**20


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"v2": "134217728\n"}, 128 * MIB),
        ({"v2": "max\n"}, None),
        ({"v1": "268435456\n"}, 256 * MIB),
        ({"v1": "9223372036854771712\n"}, 9223372036854771712),
        ({}, None),
    ],
)
def test_it_is_read_of_the_control_group(tmp_path: Path, texts: dict[str, str], found: int | None) -> None:
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert limit((tmp_path / "v2", tmp_path / "v1")) == found


@pytest.mark.parametrize(
    ("text", "most", "parts", "bytes_"),
    [("134217728", 32 * MIB, 8, 16 * MIB), ("1073741824", 32 * MIB, 8, 32 * MIB), ("max", 64 * MIB, 4, 64 * MIB)],
)
def test_a_small_limit_makes_smaller_shares(tmp_path: Path, text: str, most: int, parts: int, bytes_: int) -> None:
    file = tmp_path / "limit"
    file.write_text(text)
    assert share(most, parts, (file,)) == bytes_
