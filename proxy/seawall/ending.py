"""What an agent is told when no upstream's answer can be passed on: an error, or the policy's own words; where its
answer has been opened, as events of a stream and with an unclean end (SEMANTICS §5 and §8). It decides nothing else.
"""

from seawall.answer import Answer
from seawall.dialects.words import own_words
from seawall.faults import Code, Fault, Problem
from seawall.relay import break_off
from seawall.reply import closing, filled, problem_answer, problem_for, static_answer, told
from seawall.run import Run
from seawall.types import Headers, Outcome, ServiceLevel


def problem_of(run: Run, fault: Fault) -> Problem:
    ledger = run.ledger
    return problem_for(fault, run.call.id, upstream=ledger.upstream, attempts=ledger.attempts, others=bool(run.left))


def refuse(run: Run, fault: Fault) -> None:
    """Answer with an error of our own, in the agent's dialect."""
    call, ledger = run.call, run.ledger
    if run.visit is not None:
        ledger.upstream, ledger.model = run.visit.candidate.upstream.name, run.visit.model
    problem = problem_of(run, fault)
    status, headers, body = problem_answer(call.plan.dialect, call.facts, problem)
    ledger.fault, ledger.status, ledger.service_level = fault, status, ServiceLevel.OFFLINE
    headers += told(call, ledger)
    # What nobody can be asked stays so, however often an SDK tries.
    if ledger.retries or fault.code in (Code.NO_CANDIDATE, Code.STATEMENT_REFUSED):
        headers.append((b"x-should-retry", b"false"))
    _fail(run, status, headers, body, problem)


def fall_back(run: Run, fault: Fault, created: int) -> bool:
    """Answer as the policy says when no upstream could; False where it has no answer to such a fault. created: seconds
    since 1970."""
    call, ledger, static = run.call, run.ledger, run.call.plan.static
    if run.shadow is not None:
        run.shadow.fell(fault)
    if not fault.rule.outage:
        return False
    if run.reserve is not None and run.reserve.give(run, fault):
        return True
    if static is None:
        return False
    text = filled(static.text, {"model": call.facts.model, "requestId": call.id, "code": fault.code.value})
    problem = problem_of(run, fault)
    found = static_answer(call, static.status, text, problem, created)
    if found is None:
        return False
    ledger.fault, ledger.status, ledger.outcome = fault, static.status, Outcome.STATIC
    ledger.service_level = ServiceLevel.OFFLINE
    fields, body = found
    fields += told(call, ledger)
    if static.status >= 400:
        _fail(run, static.status, fields, body, problem.saying(text))
        return True
    run.begin(static.status, fields)
    run.agent.write(body)
    run.agent.end(closing(call, ledger) if run.opened else None)
    return True


def fail_late(run: Run, answer: Answer) -> None:
    """An upstream's error, or a plain answer, for an agent to which a stream has been opened: there is no status left
    to give, but the upstream's own words."""
    ledger = run.ledger
    ledger.outcome = Outcome.ERROR
    if answer.fault is None:
        ledger.fault = Fault(Code.PROTOCOL_ERROR, "a plain answer to a request for a stream", answer.exchange.status)
    assert ledger.fault is not None
    problem, words = problem_of(run, ledger.fault), own_words(answer.opening)
    _break_off(run, problem.saying(words) if words else problem)


def cut(run: Run, fault: Fault) -> None:
    """The process ends, and the drain's limit has passed."""
    if not run.committed:
        refuse(run, fault)
    elif run.kept is not None and run.kept.answer is not None:
        break_off(run.call, run.kept.answer, run.agent, problem_of(run, fault))


def _fail(run: Run, status: int, headers: Headers, body: bytes, problem: Problem) -> None:
    """An error as an answer, or as the end of one."""
    if run.opened:
        _break_off(run, problem)
        return
    run.begin(status, headers)
    run.agent.write(body)
    run.agent.end()


def _break_off(run: Run, problem: Problem) -> None:
    run.begin(200, [])
    dialect, facts = run.call.plan.dialect, run.call.facts
    # Nothing of an answer has been released.
    run.agent.write(dialect.watch(facts).lead + dialect.error_event(facts, problem))
    run.agent.abort()
