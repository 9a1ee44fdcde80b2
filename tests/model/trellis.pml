/* One step, and everybody who has to do with it: who sends it, workers, checkers, a bad broker, an operator.
 *
 * An `atomic` block is one commit to the store or one message to the broker. Between two of them anything else may
 * happen, and whoever acts may die. docs/explanation/model.md says what is in here, what is not, and what it proves.
 */

/* The step as it was declared, and who there is. */
#ifndef RETRIES_PERMITTED
#define RETRIES_PERMITTED 2
#endif
#ifndef IS_TIMED
#define IS_TIMED 1           /* 0: `timeout_ms` is None, and only the lease tells of a dead worker */
#endif
#ifndef HAS_BACKOFF
#define HAS_BACKOFF 0        /* 1: a next attempt may wait before it is sent */
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef CHECKERS
#define CHECKERS 2
#endif

/* How often things go wrong, or are done that are done seldom. */
#ifndef CRASHES
#define CRASHES 0            /* of anybody, between any two atomic blocks */
#endif
#ifndef UNANSWERED
#define UNANSWERED 0         /* calls to the store without an answer: done, not done, asked once more, or told late */
#endif
#ifndef STALLS
#define STALLS 0             /* workers that freeze while they send links and chain, until their clocks run out */
#endif
#ifndef CELERY_RETRIES
#define CELERY_RETRIES 0     /* 0, 1, or 2 where there is one attempt: `self.retry()` and `retry_on_worker_lost` */
#endif
#ifndef LETS_GO
#define LETS_GO 0            /* `Reject(requeue=True)`, or a task that replaces itself */
#endif
#ifndef THROWN_AWAY
#define THROWN_AWAY 0        /* messages of a task that a worker does not know, or that have expired */
#endif
#ifndef HEARTBEATS
#define HEARTBEATS 0
#endif
#ifndef UNSENDABLE
#define UNSENDABLE 0         /* messages that the broker refuses for good */
#endif
#ifndef IGNORED
#define IGNORED 0            /* runs that end with Celery's `Ignore` */
#endif
#ifndef REOPENED
#define REOPENED 0           /* by an operator */
#endif
#ifndef BY_HAND
#define BY_HAND 0            /* steps completed, failed or cancelled by an operator */
#endif

byte crashes = CRASHES, unanswered = UNANSWERED, stalls = STALLS, lets_go = LETS_GO, thrown_away = THROWN_AWAY;
byte heartbeats = HEARTBEATS, unsendable = UNSENDABLE, ignored = IGNORED, reopened = REOPENED, by_hand = BY_HAND;

/* What anybody may do at any point who may be killed there. */
#define dies crashes > 0 -> crashes--
/* A call to the store goes without an answer. */
#define is_unheard unanswered > 0 -> unanswered--

#include "rules.pml"
#include "broker.pml"

byte stored_retries;          /* Celery's count of retries in the stored message: it may be behind */

/* What the promises are about, besides the record. */
byte links;                   /* how often links and chain went out */
byte interrupted;             /* runs that were to say that they had sent them, and died, froze or were not heard */
bit started[MESSAGES];        /* by attempt and Celery's retries: a run was accepted, and did not let go */
bit is_started_twice;
bit is_done_by_hand;          /* an operator completed the step: nobody has to have sent its links */
mtype:state ended = PENDING;  /* the terminal state that was reached */

inline note_end() {
  if
  :: is_terminal && ended == PENDING -> ended = step.state
  :: else
  fi
}

#include "worker.pml"
#include "checker.pml"

/* Somebody sends the step's task, in a process that has just begun. */
active proctype publisher() {
  byte number = 1;
  bit is_untold;  /* the store does not know, and is told when it is back */
  if
  :: atomic { queue(false); number = step.attempt }
  :: atomic { is_unheard; queue(false); is_untold = 1 }  /* tracking stops no task: */
  :: atomic { is_unheard; is_untold = 1 }                /* the message goes out in both cases */
  :: atomic { is_unheard; queue(false); queue(false); number = step.attempt }
  :: atomic { dies; goto end }
  fi;
  if
  :: atomic {
       publish(number, 0, false); printf("sent\n");
       if
       :: is_untold
       :: else -> goto end
       fi
     }
  :: atomic { dies; goto end }
  fi;
  if
  :: atomic { queue(true); stored_retries = (verdict == ACCEPTED -> 0 : stored_retries); printf("told late\n") }
  :: atomic { dies }
  fi;
end:
  skip
}

#ifndef IS_LIVE

active proctype operator() {
end:
  do
  :: atomic { reopened > 0 && step.state == FAILED -> reopened--; reopen(); ended = PENDING; printf("reopened\n") }
  :: atomic { by_hand > 0 && !is_terminal -> by_hand--; cancel(NOBODY, ANY); note_end(); printf("cancelled\n") }
  :: atomic { by_hand > 0 && !is_terminal ->
       by_hand--; fail(NOBODY, ANY); note_end(); printf("failed by hand\n");
       interrupted++ }  /* if it is reopened, its run may send links and chain beside the next one */
  :: atomic { by_hand > 0 && !is_terminal ->
       by_hand--; complete(NOBODY); note_end(); is_done_by_hand = 1; printf("completed by hand\n") }
  od
}

/* A step that was sent and is not finished has a clock, or a run whose lease tells of its end. */
#define is_watched (is_terminal || step.attempt == 0 || step.clock != NO_CLOCK || (!IS_TIMED && step.is_leased))

#define are_links_sent (step.state != COMPLETED || links > 0 || is_done_by_hand)

/* What holds at any time. With PROMISE, only one of them is looked at. */
#define COMPLETED_ONCE 1
#define RETRIES_BOUND  2
#define STARTED_ONCE   3
#define FINAL          4
#define WATCHED        5
#define LINKS_ONCE     6
#define LINKS_SENT     7
#ifndef PROMISE
#define PROMISE 0
#endif
#define looks_at(promise) (PROMISE == 0 || PROMISE == (promise))

active proctype promises() {
end:
  do
  :: looks_at(COMPLETED_ONCE) && completions > 1 -> assert(completions <= 1)
  :: looks_at(RETRIES_BOUND) && step.retry_count > RETRIES_PERMITTED -> assert(step.retry_count <= RETRIES_PERMITTED)
  :: looks_at(RETRIES_BOUND) && step.attempt > MOST_ATTEMPTS -> assert(step.attempt <= MOST_ATTEMPTS)
  :: looks_at(STARTED_ONCE) && is_started_twice -> assert(!is_started_twice)
  :: looks_at(FINAL) && ended != PENDING && step.state != ended -> assert(step.state == ended)
  :: looks_at(WATCHED) && !is_watched -> assert(is_watched)
  :: looks_at(LINKS_ONCE) && links > 1 + interrupted -> assert(links <= 1 + interrupted)
  :: looks_at(LINKS_SENT) && !are_links_sent -> assert(are_links_sent)
  od
}

#else

/* What comes about in the end: a step that was sent is finished. */
ltl every_step_ends { [] (step.attempt > 0 -> <> is_terminal) }

#endif
