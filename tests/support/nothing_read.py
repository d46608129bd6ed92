"""The facts of a request of which its dialect has read nothing: for sides whose requests say all in their bodies."""

from seawall.types import Facts

FACTS = Facts("")
