/* The rules of trellis_celery/domain, for one step.
 *
 * Each `inline` that is a rule names the Python function that it stands for. test_rules.py lets both act on every
 * record there is and compares what they make of it, so a rule that is changed in one place only is noticed.
 *
 * Time is left out: a record says which clock runs, and any clock may run out as soon as it runs. A parameter must not
 * have the name of a field, because spin replaces words without looking at what they mean.
 */

mtype:state = { PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED }
mtype:clock = { NO_CLOCK, QUEUE, RUN, LOST, BACKOFF, HANDOFF, GIVING_UP }
mtype:verdict = { ACCEPTED, DUPLICATE, STALE, FINISHED }
mtype:action = { NOTHING, RESEND, RETRY, BACK_OFF, GIVE_UP }

#define NOBODY 0  /* no run: `run_id` is None */
#define GONE   9  /* a run that is over. It asks for nothing any more, so one number does for all of them */
#define ANY    9  /* no attempt: `attempt` is None */

/* domain.step.ProcessStep, as far as rules look at it. What is declared is a constant: RETRIES_PERMITTED, IS_TIMED. */
typedef Step {
  mtype:state state = PENDING;
  byte attempt;         /* 0: nothing was sent, which is the same as having no `task_id` */
  byte retry_count;
  byte celery_retries;
  mtype:clock clock = NO_CLOCK;
  byte run_id;
  bit is_leased;
  bit is_finishing;
}
Step step;

/* What a rule returns. Scratch: read before the atomic block ends in which it was written. */
hidden mtype:verdict verdict;
hidden mtype:action action;

#define is_terminal (step.state == COMPLETED || step.state == FAILED || step.state == CANCELLED)
#define run_clock   (IS_TIMED -> RUN : NO_CLOCK)

/* transitions.is_held_by_another */
#define is_held_by_another(me) \
  (step.run_id != NOBODY && step.run_id != (me) && ((me) != NOBODY || step.is_finishing))

/* outcomes._is_replaced. Who names neither run nor attempt is no run, and may always decide */
#define is_replaced(me, number) \
  (((me) != NOBODY || (number) != ANY) && ((number) < step.attempt || is_held_by_another(me)))

/* A message is about to be published for the first time, or the same call once more under the same id. If it is late,
 * the message has gone out already. */
inline queue(is_late) {  /* rule: runs.queue */
  verdict = ACCEPTED;
  if
  :: step.attempt == 0 && !is_terminal ->
     step.attempt = 1;
     if
     :: is_late && step.run_id != NOBODY  /* its run has come as far as this */
     :: else -> step.run_id = NOBODY; step.clock = QUEUE
     fi
  :: else ->
     verdict = (!is_terminal && (is_late || step.run_id == NOBODY) -> ACCEPTED : DUPLICATE)
  fi
}

#define is_same(number, retries)  ((number) == step.attempt && (retries) == step.celery_retries)
#define is_older(number, retries) \
  ((number) < step.attempt || ((number) == step.attempt && (retries) < step.celery_retries))

/* A later message of the attempt has been sent, and not by this run. */
#define is_overtaken(me, number, retries) (is_older(number, retries) && (me) != NOBODY && step.run_id != (me))

/* Celery sends the step's task again under its own id. The store may be told late: then it may have gone on. */
inline queue_again(me, number, retries) {  /* rule: runs.queue_again */
  verdict = ACCEPTED;
  if
  :: is_terminal -> verdict = FINISHED
  :: !is_terminal && (is_replaced(me, number) || is_overtaken(me, number, retries)) -> verdict = STALE
  :: else ->
     step.attempt = number; step.run_id = NOBODY; step.celery_retries = retries;
     step.is_leased = 0; step.is_finishing = 0; step.clock = QUEUE
  fi
}

#define is_newer(number, retries) (!is_older(number, retries) && !is_same(number, retries))

/* A run wants to start. */
inline start(me, number, retries, is_stray) {  /* rule: runs.start */
  verdict = ACCEPTED;
  if
  :: is_terminal -> verdict = FINISHED
  :: !is_terminal && is_older(number, retries) -> verdict = STALE
  :: !is_terminal && is_same(number, retries) && is_held_by_another(me) -> verdict = DUPLICATE
  :: !is_terminal && is_newer(number, retries) && is_held_by_another(me) && (is_stray || step.is_finishing) ->
     verdict = DUPLICATE
  :: else ->
     if
     :: step.run_id == me
     :: else ->
        step.state = IN_PROGRESS; step.attempt = number; step.celery_retries = retries; step.run_id = me;
        step.is_leased = 1; step.is_finishing = 0; step.clock = run_clock
     fi
  fi
}

/* The same attempt, and no retry of the run that holds it: that run may be about to finish unasked. */
#define is_copy(number, retries, is_stray) \
  ((number) == step.attempt && ((retries) <= step.celery_retries || is_stray))

/* Celery has sent the message again since. */
#define is_retried(number, retries) ((number) == step.attempt && (retries) < step.celery_retries)

/* Its worker renews the lease of this very run. */
#define is_watched(me, number) (step.run_id == (me) && step.attempt == (number) && step.is_leased)

/* A run that may have been replaced has ended: may it send its links and chain? */
inline claim_finish(me, number, retries, is_stray) {  /* rule: runs.claim_finish */
  verdict = ACCEPTED;
  if
  :: is_terminal -> verdict = FINISHED
  :: !is_terminal && step.run_id == me && step.is_finishing
  :: !is_terminal && is_retried(number, retries) && !(step.run_id == me && step.is_finishing) -> verdict = DUPLICATE
  :: !is_terminal && !is_retried(number, retries) && is_held_by_another(me) &&
     (step.is_finishing || is_copy(number, retries, is_stray)) -> verdict = DUPLICATE
  :: else ->
     step.is_leased = is_watched(me, number);
     step.clock = (step.is_leased && step.clock == NO_CLOCK -> NO_CLOCK : RUN);
     step.run_id = me; step.is_finishing = 1
  fi
}

/* The run gave its message back. */
inline release(me, number) {  /* rule: runs.release */
  let_go(me, number, QUEUE)
}

/* A worker threw the message away unread that another may take. */
inline put_back(number) {  /* rule: runs.put_back */
  verdict = ACCEPTED;
  if
  :: step.attempt != number || step.run_id != NOBODY || (step.clock != QUEUE && step.clock != HANDOFF) ->
     verdict = STALE
  :: else -> step.clock = QUEUE
  fi
}

/* The run replaced itself by other tasks. */
inline hand_over(me, number) {  /* rule: runs.hand_over */
  let_go(me, number, RUN)
}

inline let_go(me, number, next_clock) {
  verdict = ACCEPTED;
  if
  :: is_terminal || step.attempt != number || step.run_id != me -> verdict = STALE
  :: else ->
     step.run_id = NOBODY; step.is_leased = 0; step.is_finishing = 0; step.clock = next_clock
  fi
}

/* The run asks for more time. */
inline heartbeat(me, number) {  /* rule: runs.heartbeat */
  verdict = ACCEPTED;
  if
  :: is_terminal -> verdict = FINISHED
  :: !is_terminal && (step.attempt != number || step.run_id != me) -> verdict = STALE
  :: else -> step.clock = RUN
  fi
}

byte completions;  /* how often STEP_COMPLETED was logged */

inline finish(me, end) {
  completions = completions + (end == COMPLETED -> 1 : 0);
  step.state = end; step.run_id = me; step.attempt = (step.attempt == 0 -> 1 : step.attempt);
  step.clock = NO_CLOCK; step.is_leased = 0; step.is_finishing = 0
}

/* The work is done; `me` is NOBODY where a person says so. A repeated call changes nothing, and is no news either. */
inline complete(me) {  /* rule: outcomes.complete */
  verdict = ACCEPTED;
  if
  :: is_terminal -> verdict = (step.state == COMPLETED && (me == NOBODY || step.run_id == me) -> ACCEPTED : FINISHED)
  :: !is_terminal && step.is_finishing && me != NOBODY && step.run_id != me -> verdict = FINISHED
  :: else -> finish(me, COMPLETED)
  fi
}

/* The work failed. */
inline fail(me, number) {  /* rule: outcomes.fail */
  verdict = ACCEPTED;
  if
  :: is_terminal -> verdict = (step.state == FAILED && (me == NOBODY || step.run_id == me) -> ACCEPTED : FINISHED)
  :: !is_terminal && is_replaced(me, number) -> verdict = STALE
  :: else -> finish(me, FAILED)
  fi
}

/* Nobody wants the step any more. */
inline cancel(me, number) {  /* rule: outcomes.cancel */
  verdict = ACCEPTED;
  if
  :: is_terminal || is_replaced(me, number) -> verdict = FINISHED
  :: else -> finish(NOBODY, CANCELLED)
  fi
}

/* The run of this attempt ended without an outcome. */
inline lose(me, number) {  /* rule: outcomes.lose */
  verdict = ACCEPTED;
  if
  :: is_terminal || step.attempt == 0 || is_replaced(me, number) -> verdict = STALE
  :: else ->
     if
     :: step.clock == LOST
     :: else -> step.clock = LOST; step.is_leased = 0; step.is_finishing = 0
     fi
  fi
}

#define is_copy_of_running(number) (step.run_id != NOBODY && step.attempt == (number))

/* The attempt's message was thrown away unread: because the broker does not take it, or because it has expired. */
inline throw_away(number, is_unsendable) {  /* rule: outcomes.throw_away */
  verdict = ACCEPTED;
  if
  :: is_copy_of_running(number) -> verdict = DUPLICATE
  :: !is_copy_of_running(number) && is_unsendable -> lose(NOBODY, number)
  :: !is_copy_of_running(number) && !is_unsendable -> fail(NOBODY, number)
  fi
}

/* An operator wants a failed step tried again. Its next attempt is due at once. */
inline reopen() {  /* rule: outcomes.reopen */
  step.state = PENDING; step.attempt++; step.retry_count = 0; step.celery_retries = 0; step.run_id = NOBODY;
  step.is_leased = 0; step.is_finishing = 0; step.clock = HANDOFF
}

#define is_lapsed(lapsed) (step.is_leased && (lapsed) != 0 && (lapsed) == step.attempt)

/* A clock has run out: the one that `step.clock` names if `is_due`, or the lease of attempt `lapsed`, or both. */
inline time_out(is_due, lapsed, has_backoff) {  /* rule: timeouts.time_out */
  action = NOTHING;
  if
  :: is_terminal || !(is_lapsed(lapsed) || (is_due && step.clock != NO_CLOCK))
  :: else ->
     if
     :: !is_lapsed(lapsed) && (step.clock == QUEUE || step.clock == BACKOFF || step.clock == HANDOFF) ->
        step.clock = HANDOFF; action = RESEND
     :: !is_lapsed(lapsed) && step.clock == GIVING_UP -> action = GIVE_UP
     :: else -> end_attempt(has_backoff)
     fi
  fi
}

inline end_attempt(has_backoff) {
  step.is_leased = 0; step.is_finishing = 0;
  if
  :: step.retry_count >= RETRIES_PERMITTED -> step.clock = GIVING_UP; action = GIVE_UP
  :: else ->
     step.attempt++; step.retry_count++; step.celery_retries = 0; step.run_id = NOBODY;
     if
     :: has_backoff -> step.clock = BACKOFF; action = BACK_OFF
     :: else -> step.clock = HANDOFF; action = RETRY
     fi
  fi
}

/* The attempt's message is on its way. */
inline confirm(number) {  /* rule: timeouts.confirm */
  verdict = ACCEPTED;
  if
  :: is_terminal || step.attempt != number || step.clock != HANDOFF
  :: else -> step.clock = QUEUE
  fi
}

/* Everybody was told that all attempts are used. */
inline give_up(number) {  /* rule: timeouts.give_up */
  verdict = ACCEPTED;
  if
  :: is_terminal || step.attempt != number || step.clock != GIVING_UP
  :: else -> step.state = FAILED; step.clock = NO_CLOCK
  fi
}
