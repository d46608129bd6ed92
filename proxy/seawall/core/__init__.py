"""Resilience machines without I/O: time (`now`, seconds on a clock that never goes back) and randomness come in as
arguments, decisions go out as values. Nothing in here awaits, sleeps, reads a clock or knows about another machine.
"""
