"""Error answers in a provider's own words, and a healthy answer with the plan's error in its place. Pure."""

from seawall.lab.answer import Answer, Mint
from seawall.lab.families import Family, trouble_of
from seawall.lab.plan import Break, Plan, Status, Trouble


def error_answer(family: Family, status: Status, mint: Mint) -> Answer:
    """An error answer in the family's words."""
    trouble = status.trouble or trouble_of(status.code or 500)
    code = status.code or family.status(trouble)
    if status.code is not None and 200 <= code < 400:
        return Answer([b""] if status.body is None else [status.body.encode()], status=code)
    if status.body is not None:
        answer = Answer([status.body.encode()], status=code)
    else:
        answer = Answer([family.error(trouble, status, mint)], status=code)
    answer.headers += family.error_fields(trouble, status)
    if status.retry_after is not None:
        answer.headers.append((b"retry-after", status.retry_after.encode("latin-1")))
    if status.retry_after_ms is not None:
        answer.headers.append((b"retry-after-ms", status.retry_after_ms.encode("latin-1")))
    return answer


def bent(answer: Answer, plan: Plan, family: Family, mint: Mint) -> tuple[Answer, bool]:
    """The answer with the plan's error in its place, and whether a rate limit is used up."""
    broken = plan.breakage
    if plan.status is not None:
        code = plan.status.code or family.status(plan.status.trouble or Trouble.SERVER)
        if plan.status.trouble is not None and code == 200 and answer.stream and answer.error_event is not None:
            # Told within a stream, where the provider has no status for it.
            event = answer.error_event(plan.status.trouble, False, 0)
            return Answer([event], answer.content_type, stream=True), False
        return error_answer(family, plan.status, mint), code == 429
    trouble = plan.error_body
    if broken is not None and broken.how in (Break.ERROR, Break.FAILED) and not answer.stream:
        trouble = broken.trouble
    if trouble is not None and answer.status < 400:
        if answer.failed is not None:
            return Answer([answer.failed(trouble)]), False
        told = Answer([family.error(trouble, Status(), mint)])
        told.headers += family.error_fields(trouble, Status())
        return told, False
    return answer, False
