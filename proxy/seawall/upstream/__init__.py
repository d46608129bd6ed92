"""The only outbound I/O: connections to upstreams, their pool, and the credentials that are read from files.

Failures come back as `Fault` values; an exception out of here is a bug or a cancellation.
"""
