"""The chart's dashboard and alerts, made of the metrics' own definitions: `python -m monitoring` writes them. They
can ask for no metric, and no label, that the proxy or the operator does not have."""
