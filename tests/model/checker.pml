/* Looks for clocks that have run out. Any number of checkers may do so at once. */

#define clock_may_run_out (step.clock != NO_CLOCK && !(step.clock == RUN && holder_is_quick))

inline grow_old(how) {
  if
  :: step.run_id != NOBODY && step.run_id != GONE && is_old[step.run_id] < how -> is_old[step.run_id] = how
  :: else
  fi
}

/* Claim what was seen, and go and do it. */
inline claim(is_due, lapsed_attempt) {
  if
  :: is_due && step.clock == RUN -> grow_old(LATE)
  :: else
  fi;
  if
  :: time_out(is_due, lapsed_attempt, false)
  :: HAS_BACKOFF -> time_out(is_due, lapsed_attempt, true)
  fi;
  printf("a check: %e, attempt is now %d\n", action, step.attempt);
  number = step.attempt;
  if
  :: action == RESEND || action == RETRY -> retries = step.celery_retries; goto sending
  :: action == GIVE_UP -> goto giving_up
  :: else -> rest()
  fi
}

inline rest() {
  number = 0; retries = 0; lapses[me] = 0; goto end_idle
}

active [CHECKERS] proctype checker() {
  byte number, retries;  /* what the message will carry */
  byte me = _pid - WORKERS;

end_idle:
  if
  :: atomic { !is_terminal && clock_may_run_out -> claim(true, 0) }
  :: atomic { step.is_leased && !holder_is_quick -> grow_old(LAPSED); lapses[me] = step.attempt }
  fi;

  atomic { claim(false, lapses[me]) };  /* the record may be another one by now */

sending:
  if
  :: atomic { publish(number, retries, false) }  /* with the record's count of retries */
  :: atomic { unsendable > 0 -> unsendable--; throw_away(number, true); rest() }
  :: atomic { dies; rest() }
  fi;
  if
  :: atomic { confirm(number); rest() }
  :: atomic { dies; rest() }
  fi;

giving_up:
  if
  :: atomic { give_up(number); note_end(); rest() }
  :: atomic { dies; rest() }
  fi
}
