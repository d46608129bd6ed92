"""WebSockets (RFC 6455) that pass through: two connections that have left HTTP, joined byte for byte.

What belongs here knows frames and sockets, and nothing of policy, upstreams or calls. No byte of a message is looked
at, changed or held back; frames are counted, so that seawall can say goodbye between two of them.
"""
