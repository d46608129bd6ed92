"""Races: what a call's first attempt in a group becomes where the policy hedges (SEMANTICS §4).

It drives `core.race` with real attempts. A loser is closed at once but off the winner's path, counts against nobody,
and is never taken for a failure.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from seawall.attempt import Attempt, Attempts
from seawall.candidates import Candidates
from seawall.clock import Clock
from seawall.core.race import Action, Cancel, Finish, Race, Start, Why
from seawall.faults import Code, Failover, Fault
from seawall.run import Run
from seawall.runtime import Candidate, Plan, Upstream
from seawall.settlement import Settlement
from seawall.types import Facts, Observer, Raced, header
from seawall.visit import Visit


@dataclass(slots=True)
class Lane:
    """One attempt of a race. running: its end is still awaited."""

    attempt: Attempt
    task: asyncio.Task[None]
    running: bool = True

    @property
    def candidate(self) -> Candidate:
        return self.attempt.visit.candidate


def wants_race(plan: Plan, facts: Facts) -> bool:
    """Whether the policy hedges, and a second request of this kind does no harm."""
    return plan.hedging is not None and facts.raceable


class Racing:
    """Runs races. One per process."""

    def __init__(
        self, attempts: Attempts, candidates: Candidates, settlement: Settlement, clock: Clock, observe: Observer
    ) -> None:
        self.attempts = attempts
        self.candidates = candidates
        self.settlement = settlement
        self.clock = clock
        self.observe = observe
        self.losers: set[asyncio.Task[None]] = set()
        """Closing down; kept here so that none is collected before it is done."""

    def wanted(self, run: Run) -> bool:
        """Whether the next attempt is to be a race: never where a second request could do harm, at a probe, or when
        the agent's SDK retries by itself."""
        call, visit = run.call, run.visit
        if call.plan.hedging is None or visit is None or not visit.untried or visit.probe or call.sdk_retries:
            return False
        return call.body.kept and wants_race(call.plan, call.facts)

    async def run(self, run: Run) -> Attempt:
        """The attempt that won, or else the last that failed; `run.visit` is its. What it holds is the caller's."""
        course = _Course(self, run)
        try:
            decided = await course.decide()
        except BaseException:
            # The agent has left, or there is a bug.
            course.abandon()
            raise
        run.visit = decided.visit
        return decided


class _Course:
    """One race under way."""

    def __init__(self, racing: Racing, run: Run) -> None:
        hedging, first = run.call.plan.hedging, run.visit
        assert hedging is not None and first is not None
        self._racing = racing
        self._run = run
        self._first = first
        self._home = first.candidate.upstream
        self._home.hedges.deposit()
        delay = self._home.latencies(first.model).hedging_delay() if hedging.delay is None else hedging.delay
        self._capped = delay > 0
        self._race = Race(hedging.attempts, delay)
        self._lanes: dict[int, Lane] = {}
        self._began = racing.clock.now()
        self._winner: Attempt | None = None
        self._lost_as = Code.RACE_LOST
        self._ended: list[int] = []
        self._waiter: asyncio.Future[None] | None = None

    async def decide(self) -> Attempt:
        clock, race = self._racing.clock, self._race
        self._perform(race.begin(self._began))
        while True:
            await self._news(race.wake_at)
            ended, self._ended = sorted(self._ended, key=self._bad_ones_last), []
            for number in ended:
                if (decided := await self._judge(number)) is not None:
                    return decided
            self._perform(race.tick(clock.now()))

    async def _news(self, due: float | None) -> None:
        """Wait until a lane has come to its end, or it is `due` time for the next one."""
        if self._ended:
            return
        loop, timer = asyncio.get_running_loop(), None
        self._waiter = waiter = loop.create_future()
        if due is not None:
            timer = loop.call_later(max(0.0, due - self._racing.clock.now()), self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _attempt(self, number: int, attempt: Attempt) -> None:
        """A lane's task. It tells of its end itself: a task's callbacks would come a turn of the loop later."""
        run = self._run
        try:
            await self._racing.attempts.make(run.call, attempt, run.agent, run.ledger)
        finally:
            self._ended.append(number)
            self._wake()

    def abandon(self) -> None:
        self._lost_as = Code.AGENT_GONE
        self._perform(self._race.abandon())

    def _bad_ones_last(self, number: int) -> tuple[bool, int]:
        return self._lanes[number].attempt.fault is not None, number

    async def _judge(self, number: int) -> Attempt | None:
        """A lane has come to its end; the attempt that decides the race, if it does."""
        lane, now = self._lanes[number], self._racing.clock.now()
        attempt = lane.attempt
        if not attempt.made:
            await lane.task  # raises what is a bug
        lane.running = False
        fault = attempt.fault
        if fault is None:
            self._winner = attempt
            if not attempt.extra:
                self._measure(attempt, now)
            self._perform(self._race.answered(number))
            # Off the winner's path: its answer is passed on first.
            asyncio.get_running_loop().call_soon(self._tell, attempt, now)
            return attempt
        self._racing.candidates.rest(self._run, attempt.visit, fault)
        self._perform(self._race.failed(number, now, stop=_stops(self._run, attempt, fault)))
        if self._race.over:
            self._tell(None, now)
            return attempt
        self._leave(lane, fault)
        return None

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Start(number, why):
                    self._start(number, why)
                case Cancel(number):
                    self._dismiss(self._lanes[number])
                case Finish():
                    pass

    # -- starts ----------------------------------------------------------------------------------------------------

    def _start(self, number: int, why: Why) -> None:
        now = self._racing.clock.now()
        visit = self._first if why is Why.FIRST else self._place(why, now)
        if not isinstance(visit, Visit):
            self._perform(self._race.denied(number, later=visit, now=now))
            return
        if why is Why.HEDGE and self._run.shadow is not None:
            self._run.shadow.hedged()
        attempt = Attempt(visit, now, hold=True, raced=True, extra=why is Why.HEDGE, keep_alive=self._run.keep_alive)
        task = asyncio.get_running_loop().create_task(self._attempt(number, attempt))
        self._lanes[number] = Lane(attempt, task)

    def _place(self, why: Why, now: float) -> Visit | bool:
        """Where the next attempt goes, distinct upstreams first. Else whether asking again later can help."""
        run, candidates = self._run, self._racing.candidates
        group = self._first.candidate.group
        among = (c for c in list(run.left) if c.group == group)
        other = next((c for c in among if candidates.admissible(run, c)), None)
        if other is None and why is Why.HEDGE:
            other = next((lane.candidate for lane in self._lanes.values() if lane.running), None)
        if other is None:
            return False
        if why is Why.HEDGE and not self._afforded(other.upstream, now):
            return True
        entered = candidates.enter(run, other)
        return entered if isinstance(entered, Visit) else True

    def _afforded(self, upstream: Upstream, now: float) -> bool:
        """Hedges share the retry budget of the upstream that gets them, and may be 5 % of the calls. To start all at
        once is what the policy asks for, whatever it costs; but never where retries are being held back."""
        if upstream.budget.spent(now):
            return False
        return not self._capped or (self._home.hedges.withdraw() and upstream.budget.withdraw(now))

    # -- ends ------------------------------------------------------------------------------------------------------

    def _leave(self, lane: Lane, fault: Fault) -> None:
        """It failed while others run on."""
        attempt, run = lane.attempt, self._run
        attempt.visit.blameless |= self._has_twin(lane)
        self._racing.settlement.attempted(run, attempt, "the race goes on")
        self._racing.settlement.leave(attempt.visit, fault)
        if attempt.arrived:
            run.kept = self._racing.attempts.shelve(self._racing.attempts.replace(run.kept, attempt))

    def _dismiss(self, lane: Lane) -> None:
        """Nobody waits for it any more. Its end is told by its own task, after what runs now."""
        losers = self._racing.losers

        def closed(task: asyncio.Task[None]) -> None:
            losers.discard(task)
            self._racing.attempts.close(lane.attempt)
            if not task.cancelled() and (error := task.exception()) is not None:
                context = {"message": "a bug: an attempt of a race failed", "exception": error, "task": task}
                task.get_loop().call_exception_handler(context)
            self._tell_lost(lane)

        lane.running = False
        losers.add(lane.task)
        lane.task.add_done_callback(closed)
        lane.task.cancel()

    def _tell_lost(self, lane: Lane) -> None:
        attempt, settlement = lane.attempt, self._racing.settlement
        visit = attempt.visit
        if attempt.number and not attempt.extra:
            self._measure(attempt, self._racing.clock.now())
        visit.blameless |= self._has_twin(lane)
        # One that failed or answered in the very moment in which another won has its own end.
        fault = attempt.fault or Fault(self._lost_as)
        settlement.leave(visit, fault, attempt.first_content)
        if attempt.number:
            attempt.fault = fault
            settlement.attempted(self._run, attempt)

    def _has_twin(self, lane: Lane) -> bool:
        """Another attempt at the same upstream gives the call's one sample of it."""
        others = (o for o in self._lanes.values() if o is not lane and o.candidate is lane.candidate)
        return any(o.running or o.attempt is self._winner for o in others)

    def _measure(self, attempt: Attempt, now: float) -> None:
        """What the first upstream takes to its first content, or has taken without any: by that, delays are chosen."""
        visit = attempt.visit
        seconds = (attempt.first_content or now) - visit.entered
        visit.candidate.upstream.latencies(visit.model).add(seconds)

    def _tell(self, winner: Attempt | None, now: float) -> None:
        if len(self._lanes) == 1:
            return  # nobody ran against it
        first, saved = self._lanes[1].attempt, None
        if winner is not None and winner is not first and first.first_content and winner.first_content:
            saved = first.first_content - winner.first_content
        self._racing.observe(
            Raced(
                call_id=self._run.call.id,
                route=self._run.call.plan.route,
                winner="" if winner is None else winner.visit.candidate.upstream.name,
                starts=len(self._lanes),
                hedges=sum(lane.attempt.extra for lane in self._lanes.values()),
                seconds=now - self._began,
                saved_seconds=saved,
            )
        )


def _stops(run: Run, attempt: Attempt, fault: Fault) -> bool:
    """Whether an upstream's answer says that nobody else need be asked."""
    if attempt.answer is not None and attempt.arrived:
        advice = header(attempt.answer.exchange.headers, b"x-should-retry")
        if advice is not None and advice.strip().lower() == b"false":
            return True
    match fault.rule.failover:
        case Failover.NO:
            return True
        case Failover.LISTED:
            # A larger context window is not in this group's gift: the next candidate is chosen for it.
            return fault.code is Code.CONTEXT_LENGTH or fault.rule.fallback_on not in run.call.plan.fallback_on
        case _:
            return False
