"""What operators see: metrics, logs and reports, all fed by the same Event values. It observes; it never decides, never
blocks the event loop, and never holds a secret or a body."""
