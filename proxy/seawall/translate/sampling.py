"""Settings of Claude's models that say nothing, and are refused beside others all the same."""

from pydantic_ai.settings import ModelSettings


def one_of_two(given: ModelSettings | None) -> ModelSettings:
    """A copy. Newer models refuse `temperature` beside `top_p`: one that is 1, as without a word, is not said then."""
    settings = given.copy() if given else ModelSettings()
    if "temperature" in settings and settings.get("top_p") == 1:
        del settings["top_p"]
    elif "top_p" in settings and settings.get("temperature") == 1:
        del settings["temperature"]
    return settings
