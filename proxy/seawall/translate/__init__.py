"""An agent's request in one dialect, carried to a provider that speaks another, through pydantic-ai's messages.

Imported only by a process whose policy needs it: pydantic-ai and the providers' SDKs cost 100 MB. Nothing that an agent
asked for is dropped silently: what cannot be carried makes the candidate unfit for that request, with the reason.
"""
