/* What each rule makes of each record there is: a line for the record, and one for each rule and what happened.
 *
 * The run that acts is number 1, so a record is held by nobody, by it, or by another. test_rules.py reads the lines,
 * where everything is a number.
 */

#define RETRIES_PERMITTED 1
#define IS_TIMED          is_timed

byte is_timed = 1;

#include "rules.pml"

#define MOST_ATTEMPT 2
#define MOST_RETRIES 1
#define ME           1
#define ANOTHER      2

byte s, a, n, c, k, r, l, f;  /* the record, field by field */
byte me, number, retries, flag, lapsed, has_backoff;

inline given() {
  step.state = s; step.attempt = a; step.retry_count = n; step.celery_retries = c; step.clock = k; step.run_id = r;
  step.is_leased = l; step.is_finishing = f
}

inline tell() {
  printf("%d %d %d %d %d %d %d %d\n", step.state, step.attempt, step.retry_count, step.celery_retries, step.clock,
    step.run_id, step.is_leased, step.is_finishing)
}

inline with_nothing() {
  for (flag : 0 .. 1) {
    given(); queue(flag); printf("queue %d %d ", flag, verdict); tell()
  }
  if
  :: s == FAILED -> given(); reopen(); printf("reopen %d ", ACCEPTED); tell()
  :: else
  fi
}

inline with_number() {
  given(); release(ME, number); printf("release %d %d ", number, verdict); tell();
  given(); hand_over(ME, number); printf("hand_over %d %d ", number, verdict); tell();
  given(); heartbeat(ME, number); printf("heartbeat %d %d ", number, verdict); tell();
  given(); confirm(number); printf("confirm %d %d ", number, verdict); tell();
  given(); give_up(number); printf("give_up %d %d ", number, verdict); tell();
  given(); put_back(number); printf("put_back %d %d ", number, verdict); tell();
  for (flag : 0 .. 1) {
    given(); throw_away(number, flag); printf("throw_away %d %d %d ", number, flag, verdict); tell()
  }
}

inline with_retries() {
  for (flag : 0 .. 1) {
    given(); claim_finish(ME, number, retries, flag);
    printf("claim_finish %d %d %d %d ", number, retries, flag, verdict); tell();
    for (is_timed : 0 .. 1) {
      given(); start(ME, number, retries, flag);
      printf("start %d %d %d %d %d ", number, retries, flag, is_timed, verdict); tell()
    }
  }
  for (me : NOBODY .. ME) {
    given(); queue_again(me, number, retries); printf("queue_again %d %d %d %d ", me, number, retries, verdict); tell()
  }
}

inline ending() {
  given(); fail(me, number); printf("fail %d %d %d ", me, number, verdict); tell();
  given(); cancel(me, number); printf("cancel %d %d %d ", me, number, verdict); tell();
  if
  :: number != ANY -> given(); lose(me, number); printf("lose %d %d %d ", me, number, verdict); tell()
  :: else -> given(); complete(me); printf("complete %d %d ", me, verdict); tell()
  fi
}

inline with_clocks() {
  for (flag : 0 .. 1) {
    for (lapsed : 0 .. MOST_ATTEMPT) {
      for (has_backoff : 0 .. 1) {
        given(); time_out(flag, lapsed, has_backoff);
        printf("time_out %d %d %d %d ", flag, lapsed, has_backoff, action); tell()
      }
    }
  }
}

active proctype conformance() {
  d_step {
    for (s : CANCELLED .. PENDING) { for (a : 0 .. MOST_ATTEMPT) { for (n : 0 .. RETRIES_PERMITTED) {
    for (c : 0 .. MOST_RETRIES) { for (k : GIVING_UP .. NO_CLOCK) { for (r : NOBODY .. ANOTHER) {
    for (l : 0 .. 1) { for (f : 0 .. 1) {
      given(); printf("= "); tell();
      with_nothing();
      with_clocks();
      for (number : 1 .. MOST_ATTEMPT) {
        with_number();
        for (retries : 0 .. MOST_RETRIES) { with_retries() }
        for (me : NOBODY .. ME) { ending() }
      }
      number = ANY;
      for (me : NOBODY .. ME) { ending() }
    } } } } } } } }
  }
}
