"""What becomes of each job: from its report, or its loss, to a settlement and a log line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from taskq import signals, states
from taskq.backends.base import Outcome
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.exceptions import TaskQError, TimeLimitExceeded, WorkerLostError
from taskq.execution import Report, Sentence
from taskq.follow_ups import FollowUps
from taskq.retrying import retry_of_lost
from taskq.worker.job import Job, Verdict
from taskq.worker.pool.base import Loss

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.worker")


class Fates:
    """Decides by the task's options and the app's settings.

    Args:
        app: whose tasks and settings.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app
        self._conf = app.conf
        self._follow_ups = FollowUps(app)
        self._verbose = logger.isEnabledFor(logging.INFO)

    def of_report(self, job: Job, report: Report) -> Settlement:
        """The settlement of a job that has ended."""
        if job.verdict is not None:
            return self._told(job, job.verdict, report)
        if self._verbose or report.state in states.EXCEPTION_STATES or report.fate is Fate.DEAD:
            self._log(job, report)
        return Settlement(
            job.delivery,
            report.fate,
            report.outcome,
            report.follow_ups,
            report.reason,
            acknowledged=job.acknowledged,
            further=report.never_run,
            part=report.part,
        )

    def _told(self, job: Job, verdict: Verdict, report: Report) -> Settlement:
        """The settlement of a job that had ended before, with what must follow it."""
        return replace(
            verdict.settlement,
            delivery=job.delivery,
            follow_ups=report.follow_ups,
            further=report.never_run,
            part=report.part,
        )

    def _log(self, job: Job, report: Report) -> None:
        if report.fate is Fate.DEAD:
            logger.error("Task %s goes to the dead letters: %s", job.label, report.reason)
        elif report.state == states.SUCCESS:
            runtime = f"{report.runtime:.6f}".rstrip("0").rstrip(".")
            logger.info("Task %s succeeded in %ss: %s", job.label, runtime, report.text)
        elif report.state == states.RETRY:
            logger.info("Task %s retry: %s", job.label, report.text)
        elif report.state == states.FAILURE and report.traceback is None:
            logger.info("Task %s raised expected: %s", job.label, report.text)
        elif report.state == states.FAILURE:
            logger.error(
                "Task %s raised unexpected: %s\n%s", job.label, report.text, report.traceback
            )
        else:
            logger.info("Task %s: %s %s", job.label, report.state.lower(), report.text)

    def of_loss(self, job: Job, loss: Loss, detail: str) -> Settlement | Verdict:
        """The settlement of a job that has no report, or a verdict if that is its end."""
        if job.verdict is not None:
            if loss is Loss.UNSTARTED:
                return job.verdict
            sentence = job.verdict.sentence
            if not sentence.quiet:  # an errback may have killed the process: once more without
                return replace(job.verdict, sentence=replace(sentence, quiet=True))
            # Nobody could be told; it has ended all the same.
            return replace(job.verdict.settlement, delivery=job.delivery)
        if loss is Loss.TIMED_OUT:
            return self._timed_out(job)
        if loss is Loss.CRASHED:
            return self._crashed(job, detail)
        if job.acknowledged:
            return self._failed(job, WorkerLostError(f"{detail}; it had been acknowledged"))
        logger.info("Task %s is given back: %s", job.label, detail)
        return Settlement(job.delivery, Fate.REQUEUE, unused=True)

    def _timed_out(self, job: Job) -> Settlement | Verdict:
        acks = job.task.acks_on_timeout
        if (self._conf.task_acks_on_timeout if acks is None else acks) or job.acknowledged:
            return self._failed(job, TimeLimitExceeded(f"it ran for more than {job.hard_limit} s"))
        return Settlement(job.delivery, Fate.REQUEUE)

    def _crashed(self, job: Job, detail: str) -> Settlement | Verdict:
        error = WorkerLostError(f"{detail} while running {job.label}")
        by_retry = job.task.retry_on_worker_lost
        if self._conf.task_retry_on_worker_lost if by_retry is None else by_retry:
            return self._retried(job, error)
        again = job.task.reject_on_worker_lost
        again = self._conf.task_reject_on_worker_lost if again is None else again
        if not again or job.acknowledged:
            return self._failed(job, error)
        crashes = job.delivery.crashes + 1
        limit = self._conf.task_max_crashes
        if crashes >= limit:
            verdict = self.bury(
                job.delivery, WorkerLostError(f"{error} (crash {crashes} of {limit})")
            )
            verdict.settlement.crashed = True
            return verdict
        logger.error("%s; it will run again (crash %d of %d)", error, crashes, limit)
        return Settlement(job.delivery, Fate.REQUEUE, crashed=True)

    def _retried(self, job: Job, error: TaskQError) -> Settlement | Verdict:
        """Sent again as `Task.retry` does it, or failed if no retry is left."""
        delivery = job.delivery
        following = retry_of_lost(job.task, delivery.message, delivery.queue)
        if following is None:
            return self._failed(job, error)
        logger.error("%s; it is retried in %g s", error, job.task.default_retry_delay)
        signals.task_retry.send(job.task, request=delivery.message, reason=error, einfo=None)
        outcome = self._outcome(delivery, states.RETRY, error)
        return Settlement(delivery, Fate.DONE, outcome, [following], acknowledged=job.acknowledged)

    def _failed(self, job: Job, error: TaskQError) -> Verdict:
        """It failed, though no code of its own could say so."""
        logger.error("Task %s failed: %s", job.label, error)
        signals.task_failure.send(
            job.task,
            task_id=job.id,
            exception=error,
            args=(),
            kwargs={},
            traceback=None,
            einfo=None,
        )
        settlement = Settlement(
            job.delivery,
            Fate.DONE,
            self._outcome(job.delivery, states.FAILURE, error),
            acknowledged=job.acknowledged,
        )
        return _verdict(settlement, states.FAILURE, error)

    def bury(self, delivery: Delivery, error: TaskQError) -> Verdict:
        """To the dead letters, and whoever waits for a result gets the error."""
        message = delivery.message
        logger.error("Task %s[%s] goes to the dead letters: %s", message.task, message.id, error)
        settlement = Settlement(
            delivery,
            Fate.DEAD,
            self._outcome(delivery, states.FAILURE, error),
            reason=f"{type(error).__name__}: {error}",
        )
        return _verdict(settlement, states.FAILURE, error)

    def bury_unread(self, delivery: Delivery, error: TaskQError) -> Settlement:
        """`bury` for what no process may open: a chord that it is of knows it by its headers."""
        signals.task_rejected.send(self._app, message=delivery.message, exc=error)
        settlement = self.bury(delivery, error).settlement
        part = self._follow_ups.part_of(delivery.message, delivery.queue, states.FAILURE, error)
        return replace(settlement, part=part)

    def drop(self, delivery: Delivery, error: TaskQError, why: str) -> Verdict:
        """Not to be run, and no fault of anybody's."""
        message = delivery.message
        logger.info("Task %s[%s] is dropped: %s", message.task, message.id, why)
        settlement = Settlement(delivery, Fate.DONE, self._outcome(delivery, states.REVOKED, error))
        return _verdict(settlement, states.REVOKED, error)

    def _outcome(self, delivery: Delivery, state: str, error: TaskQError) -> Outcome | None:
        headers = delivery.message.headers
        if self._ignores(delivery) and not (state == states.FAILURE and self._keeps(delivery)):
            return None
        return self._app.result_codec.encode(headers["id"], state, error, None, headers)

    def _ignores(self, delivery: Delivery) -> bool:
        """Is no result wanted?"""
        message = delivery.message
        ignore = message.headers.get("ignore_result")
        task = self._app.tasks.get(message.task)
        if ignore is None and task is not None:
            ignore = task.ignore_result
        return bool(self._conf.task_ignore_result if ignore is None else ignore)

    def _keeps(self, delivery: Delivery) -> bool:
        """Is an error wanted even so?"""
        task = self._app.tasks.get(delivery.message.task)
        keeps = task.store_errors_even_if_ignored if task is not None else None
        return bool(self._conf.task_store_errors_even_if_ignored if keeps is None else keeps)


def _verdict(settlement: Settlement, state: str, error: TaskQError) -> Verdict:
    return Verdict(settlement, Sentence(state, type(error).__name__, str(error)))
