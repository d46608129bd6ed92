"""Options of the command line and their variables: `--drain` is SEAWALL_DRAIN. What was typed beats the variable, an
empty variable counts as unset, and both are held to the same rule. A bad value ends in one line that names where it
came from, and only in the command that uses it.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seawall.terminal import Unusable

if TYPE_CHECKING:
    from seawall.service import Address


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `read` makes its value of a text, and raises ValueError with words that follow the text (`is no …`).

    `default` is a text as well; `variable` is without its SEAWALL_.
    """

    flag: str
    read: Callable[[str], object]
    default: str
    help: str
    metavar: str
    variable: str = ""

    @property
    def name(self) -> str:
        """Of the variable."""
        return "SEAWALL_" + (self.variable or self.flag.removeprefix("--").replace("-", "_").upper())

    def value(self, typed: str | None, environment: Mapping[str, str]) -> object:
        """Raises Unusable."""
        where, text = self.flag, typed
        if text is None:
            where, text = self.name, environment.get(self.name) or self.default
        try:
            return self.read(text)
        except ValueError as error:
            raise Unusable(f"{where}: {text!r} {error}") from None


def add(parser: argparse.ArgumentParser, *options: Option) -> None:
    """To a command's parser. Their values come with `take`: argparse would read the defaults of every command, and
    not hold them to what it asks of the command line."""
    for option in options:
        known = f"default {option.default}; " if option.default else ""
        parser.add_argument(option.flag, metavar=option.metavar, help=f"{option.help} ({known}{option.name})")
    parser.set_defaults(options=(*(parser.get_default("options") or ()), *options))


def take(arguments: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Put the values of the chosen command's options in place of their texts. Raises Unusable for the first bad one."""
    for option in arguments.options:
        name = option.flag.removeprefix("--").replace("-", "_")
        setattr(arguments, name, option.value(getattr(arguments, name), environment))


def policies(typed: list[str] | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files of `--policy`, else of SEAWALL_POLICY, else the built-in policy. Raises Unusable for an empty name,
    which would be the current folder."""
    found = typed or [name for name in environment.get("SEAWALL_POLICY", "").split(":") if name]
    if "" in found:
        raise Unusable("--policy: '' is no file or folder")
    return tuple(Path(name) for name in found) or (shipped("policy.yaml"),)


def shipped(name: str) -> Path:
    """A policy that comes with the package; in a checkout, the file under config/."""
    from importlib.resources import as_file, files

    folder = Path(__file__).parents[2] / "config"
    checkout = folder / ("examples/demo.yaml" if name == "demo.yaml" else name)
    if checkout.is_file():
        return checkout
    with as_file(files("seawall") / "config" / name) as path:
        return path


# -- what options hold -------------------------------------------------------------------------------------------------


def address(text: str) -> "Address":
    """HOST:PORT to listen on."""
    from seawall.service import Address

    try:
        found = Address.parse(text)
        # As the resolver does it, which would end in a traceback.
        found.host.encode("idna")
    except ValueError:
        raise ValueError("is not HOST:PORT, such as 127.0.0.1:4100") from None
    return found


def seconds(text: str) -> float:
    """Finite, 0 or more."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise ValueError("is not a number of seconds, 0 or more, such as 25")
    return found


def size(text: str) -> int:
    """Bytes, as policies write them."""
    from seawall.policy.units import size_bytes

    try:
        return size_bytes(text)
    except ValueError:
        raise ValueError("is not a size, such as 64Mi") from None


def size_or_share(most: int, parts: int) -> Callable[[str], int]:
    """A size. `auto`: `most` bytes, or one of so many parts of the memory that it may take, if that is less."""

    def read(text: str) -> int:
        from seawall.memory import share

        return share(most, parts) if text == "auto" else size(text)

    return read


def whole(text: str) -> int:
    """Any whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("is not a whole number") from None


def one_of(*choices: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text

    return read
