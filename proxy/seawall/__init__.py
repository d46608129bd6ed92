"""seawall's data plane: a proxy that keeps an agent's model and warehouse calls working while their providers fail.

Arrows point one way: `cli → server, reload → engine, compile → core, dialects → faults → types`; `policy` stands
alone. An import contract in pyproject.toml keeps it so.
"""

__version__ = "0.1.0"
