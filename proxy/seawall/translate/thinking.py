"""How much a model is to think, where an agent says it as a budget of tokens and other providers know efforts."""

from pydantic_ai.settings import ThinkingEffort

# Whatever is budgeted up to so many tokens of thinking is that effort; pydantic-ai's own map for Anthropic's models,
# read the other way.
_BUDGETS: tuple[tuple[int, ThinkingEffort], ...] = (
    (1024, "minimal"),
    (2048, "low"),
    (10000, "medium"),
    (16384, "high"),
)


def effort_of(budget: int) -> ThinkingEffort:
    """budget: in tokens, above 0."""
    return next((effort for most, effort in _BUDGETS if budget <= most), "xhigh")
