"""The way of a request: may it, what is read, is it reserved; then the engine, then the books."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from ..engines import Request as Order
from ..errors import Conflict, Denied, Duplicate, KeyRefused, ModelyardError
from ..records.clock import now_us
from .answer import Answer
from .asks import Ask, Held
from .books import Books
from .fleet import Fleet, Served
from .ground import NOT_STATED, Prepared, prepare
from .keyring import Bearer
from .limits import Limits, Pass, TooMany
from .meter import body_mac
from .metrics import Metrics
from .parameters import Wanted
from .refusals import Refusal, busy, invalid
from .settings import Serve
from .story import Story
from .turn import Turn

SETTLE_TRIES = 4
RESERVE_S = 5.0  # a reservation takes a few milliseconds; so long, and the ledger is stuck
SHORT_PROMPT = 4096  # characters; longer ones are read in a thread, so that nobody else waits


class Asking:
    """Requests under way. Everything but `prepare` runs in the event loop's thread."""

    def __init__(
        self, books: Books, fleet: Fleet, metrics: Metrics, settings: Serve, story: Story, secret: bytes
    ) -> None:
        self.turns: set[Turn] = set()
        self._books = books
        self._fleet = fleet
        self._limits = Limits()
        self._metrics = metrics
        self._settings = settings
        self._say = story
        self._secret = secret
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._entering = 0
        self.draining = False
        """No new request is taken."""
        self._stopped = False  # nor one that is still waiting

    async def drain(self, most_s: float, cancel_s: float) -> None:
        """Take no more; wait `most_s` for what is under way, then stop it and wait `cancel_s` for its end."""
        self.draining = True
        await self._quiet(most_s)
        self._stopped = True
        for turn in self.turns:
            turn.answer.cancel("length")
        await self._quiet(cancel_s)

    async def _quiet(self, most_s: float) -> None:
        until = time.monotonic() + most_s
        while (self.turns or self._entering) and time.monotonic() < until:
            await asyncio.sleep(0.02)

    async def open(
        self,
        bearer: Bearer,
        wanted: Wanted,
        body: bytes,
        *,
        request_id: str,
        event_id: str | None,
        arrived: float,
    ) -> tuple[Turn, dict[str, str]]:
        """Reserve a request and start it; returns it with the headers of its reply.

        Raises Refusal, having left nothing reserved.
        """
        if self.draining:
            raise busy("the service is stopping", 5.0, "stopping")
        served = self._fleet.enter()
        self._entering += 1
        passed: Pass | None = None
        try:
            _check(served, wanted)
            prepared = await self._prepare(served, wanted)
            prompt = prepared.prompt or ()
            most = _most_tokens(served, wanted, len(prompt)) if prepared.prompt else 0
            passed = self._enter(bearer, len(prompt) + most)
            ask = Ask(
                request_id=request_id,
                key_id=bearer.key.id,
                customer_id=bearer.key.customer_id or "",
                contract_id=bearer.contract_id or "",
                event_id=event_id,
                body_mac=body_mac(self._secret, body),
                input_tokens=len(prompt),
                max_output_tokens=most,
                max_output_given=wanted.max_tokens is not None or not most,
                cost=bearer.cost,
            )
            turn = await self._begin(served, wanted, prepared, ask, arrived, passed)
        except BaseException:
            if passed is not None:
                self._limits.leave(passed, 0)
            self._fleet.leave(served)
            raise
        finally:
            self._entering -= 1
        headers = {"x-modelyard-release": served.released.id, **passed.headers}
        if prepared.last_only:
            headers["x-modelyard-asked"] = "last-message"
        return turn, headers

    async def _prepare(self, served: Served, wanted: Wanted) -> Prepared:
        if served.released.index is None and _length(wanted) < SHORT_PROMPT:
            return prepare(served.released, wanted)
        async with served.reading:  # an index is read by one thread at a time
            return await asyncio.to_thread(prepare, served.released, wanted)

    def _enter(self, bearer: Bearer, tokens: int) -> Pass:
        key = bearer.key
        if key.customer_id is None or bearer.contract_id is None:
            raise Refusal(403, "this key belongs to no customer with a contract", code="no_contract")
        try:
            return self._limits.enter(
                key.id,
                tokens,
                requests_per_minute=key.requests_per_minute,
                tokens_per_minute=key.tokens_per_minute,
                concurrency=key.concurrency,
            )
        except TooMany as error:
            raise Refusal(
                429, error.what, code=error.code, retry_after_s=error.retry_after_s, headers=error.headers
            ) from None

    async def _begin(
        self, served: Served, wanted: Wanted, prepared: Prepared, ask: Ask, arrived: float, passed: Pass
    ) -> Turn:
        asked = prepared.prompt is not None
        if asked:
            await self._slot(served, arrived)
        try:
            if self._stopped:
                raise busy("the service is stopping", 5.0, "stopping")
            worker = served.running() if asked else None
            began = time.monotonic()
            held = await self._reserve(ask, arrived)
        except BaseException:
            if asked:
                served.slots.release()
            raise
        for text in held.warnings:
            self._say("{warning}", warning=text)
        answer = Answer(
            ask.request_id,
            served.released.prompter,
            stop=wanted.stop,
            bare=served.released.index is not None and wanted.schema is None,
        )
        turn = Turn(
            id=ask.request_id,
            served=served,
            wanted=wanted,
            answer=answer,
            input_tokens=ask.input_tokens,
            hits=prepared.hits,
            last_only=prepared.last_only,
            arrived=arrived,
            database_s=time.monotonic() - began,
        )
        if worker is None or not prepared.prompt:
            answer.say(NOT_STATED)
        else:
            turn.submitted = time.monotonic()
            answer.under(worker)
            worker.submit(_order(turn, prepared.prompt, held), answer)
        self.turns.add(turn)
        self._task(self._end(turn, passed))
        return turn

    async def _slot(self, served: Served, arrived: float) -> None:
        """A place beside the engine. Raises Refusal when too many wait, or this one waited too long."""
        if self._waiting >= self._settings.queue + self._settings.callers and served.slots.locked():
            raise busy("too many requests are waiting", 2.0)
        self._waiting += 1
        self._metrics.waiting.inc()
        try:
            left = arrived + self._settings.queue_s - time.monotonic()
            await asyncio.wait_for(served.slots.acquire(), max(0.001, left))
        except TimeoutError:
            raise busy("the request waited too long for its turn", 5.0) from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.dec()

    async def _reserve(self, ask: Ask, arrived: float) -> Held:
        """The reservation; where only requests under way stand against it, it waits for them."""
        try:
            try:
                return await self._hold(ask, 0.0)
            except Denied as error:
                left = arrived + self._settings.queue_s - time.monotonic()
                if not error.soon or left <= 0:
                    raise
                return await self._hold(ask, left)
        except KeyRefused:
            raise Refusal(401, "a valid API key is needed", code="invalid_api_key", again=False) from None
        except Denied as error:
            raise _denied(error) from None
        except (Duplicate, Conflict) as error:
            raise _repeated(error) from None
        except (ModelyardError, TimeoutError):
            raise busy("the request cannot be written down now", 5.0, "ledger_unavailable") from None

    async def _hold(self, ask: Ask, patience_s: float) -> Held:
        future = asyncio.wrap_future(self._books.reserve(ask, patience_s))
        try:
            return await asyncio.wait_for(asyncio.shield(future), patience_s + RESERVE_S)
        except (TimeoutError, asyncio.CancelledError):
            # It may still be granted, and nobody would use it.
            future.add_done_callback(lambda done: self._unwanted(ask.request_id, done))
            raise

    def _unwanted(self, id: str, reserved: asyncio.Future[Held]) -> None:
        if not reserved.cancelled() and reserved.exception() is None:
            self._books.release(id, "nobody waited")

    async def _end(self, turn: Turn, passed: Pass) -> None:
        """Follow a request to its settlement, whatever becomes of its client."""
        self._metrics.running.inc()
        answer = turn.answer
        refusal: Refusal | None = None
        try:
            refusal = await self._finish(turn)
        except Exception as error:  # noqa: BLE001 (the client must hear something, and it is told below)
            self._say("settling {id} failed: {kind}", id=turn.id, kind=type(error).__name__)
            self._metrics.unsettled.inc()
            refusal = busy("the answer could not be written down", 5.0, "ledger_unavailable")
        finally:
            self.turns.discard(turn)
            self._metrics.running.dec()
            used = 0 if refusal is not None else turn.input_tokens + answer.tokens
            self._limits.leave(passed, used)
            self._fleet.leave(turn.served)
            turn.settled.set_result(refusal)
        self._count(turn, refusal)

    async def _finish(self, turn: Turn) -> Refusal | None:
        """Wait for the engine, then settle or release; returns why there is no answer, if there is none."""
        answer = turn.answer
        try:
            left = turn.arrived + self._settings.deadline_s - time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(answer.done), max(0.001, left))
            if not answer.done.done():
                turn.late = True
                answer.cancel()
                await answer.done
        finally:
            if turn.submitted:
                turn.served.slots.release()
        if answer.finish == "failed" or turn.late:
            await asyncio.wrap_future(self._books.release(turn.id, "late" if turn.late else "engine"))
            return _unanswered(turn)
        for again in range(SETTLE_TRIES):
            try:
                await asyncio.wrap_future(self._books.settle(turn.id, turn.used()))
                return None
            except Denied as error:  # the lease had run out and nothing is left of a hard budget
                return _denied(error)
            except ModelyardError:
                if again + 1 == SETTLE_TRIES:
                    raise
                await asyncio.sleep(0.2 * 2**again)
        return None

    def _count(self, turn: Turn, refusal: Refusal | None) -> None:
        now, answer, metrics = time.monotonic(), turn.answer, self._metrics
        metrics.finishes.labels(answer.finish or "failed").inc()
        if refusal is None:
            metrics.input_tokens.inc(turn.input_tokens)
            metrics.output_tokens.inc(answer.tokens)
        if turn.submitted:
            metrics.queue.observe(turn.submitted - turn.arrived)
        if answer.first_at is not None:
            metrics.first.observe(answer.first_at - turn.arrived)
        metrics.whole.observe(now - turn.arrived)

    def _task(self, duty: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(duty)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def new_id() -> str:
    """A request's id: ours, random, never chosen by a client."""
    return f"req-{secrets.token_hex(12)}"


def _check(served: Served, wanted: Wanted) -> None:
    """The model is this one, and its engine gives what is asked."""
    if wanted.model != served.released.model:
        raise Refusal(
            404,
            f"the model asked for is not served here; {served.released.model} is",
            code="model_not_found",
            param="model",
        )
    for given, param in wanted.given.items():
        if given not in served.gives:
            raise invalid(
                f"{param} is not supported by the engine {served.released.engine}",
                param,
                "unsupported_parameter",
            )


def _most_tokens(served: Served, wanted: Wanted, prompt: int) -> int:
    """How long the answer may get. Raises Refusal when it does not fit behind its prompt."""
    context = served.released.context_tokens
    asked = wanted.max_tokens
    least = 1 if asked is None else asked
    if prompt + least > context:
        what = f"the context has {context} tokens, and {prompt} of prompt and {least} of answer were asked"
        raise invalid(what, "messages" if wanted.messages else "prompt", "context_length_exceeded")
    return min(context - prompt, served.released.answer_tokens) if asked is None else asked


def _order(turn: Turn, prompt: tuple[int, ...], held: Held) -> Order:
    wanted = turn.wanted
    return Order(
        id=turn.id,
        prompt=prompt,
        max_tokens=held.max_output_tokens,
        stop=(turn.released.prompter.end,),
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        seed=wanted.seed,
        logprobs=wanted.logprobs,
        schema=wanted.schema,
    )


def _length(wanted: Wanted) -> int:
    return len(wanted.prompt) + sum(len(message["content"]) for message in wanted.messages)


def _denied(error: Denied) -> Refusal:
    """A budget's no. Clients should come again only when that can help."""
    wait = None if error.resets_us is None else (error.resets_us - now_us()) / 1_000_000
    return Refusal(
        429,
        error.what,
        code=error.code,
        type="insufficient_quota",
        retry_after_s=wait,
        again=error.soon,
    )


def _repeated(error: Duplicate | Conflict) -> Refusal:
    if isinstance(error, Conflict):
        return Refusal(409, error.what, code="idempotency_conflict", param="Idempotency-Key", again=False)
    code = "request_done" if error.done else "request_under_way"
    return Refusal(409, error.what, code=code, param="Idempotency-Key", again=False)


def _unanswered(turn: Turn) -> Refusal:
    """Why a request whose hold was released has no answer; nothing of it is billed."""
    if turn.late:
        return Refusal(504, "the request took too long", code="deadline_exceeded", again=False)
    worker = turn.served.worker
    if worker is None or worker.ended.done():
        return busy("the engine failed; it is being started again", 2.0, "engine_failed")
    if turn.wanted.schema is not None:
        return invalid("the engine cannot hold an answer to this schema", "response_format")
    return Refusal(503, "the engine could not answer this request", code="engine_failed", retry_after_s=2.0)
