"""Where cached answers are kept: in memory, on disk, or in a redis that replicas share, behind one Protocol.

Entries in, entries out. What may be stored, for whom, under which key and for how long is decided elsewhere
(`core/cache.py`); nothing in here knows HTTP, a policy or the engine. Whatever goes wrong with a store is a miss to
those who ask, which `guarded.py` sees to; `build.py` makes a store from its settings.
"""
