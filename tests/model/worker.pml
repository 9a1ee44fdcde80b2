/* A worker with room for one run at a time: a child that runs it, and the main process that looks after the child. */

#define ME (_pid + 1)  /* the name of its run. The workers are the first processes there are */

#define LATE   1                         /* its deadline has passed */
#define LAPSED (LATE + (HEARTBEATS > 0))  /* its lease may have, too: that is no other thing unless it asks for time */

byte is_old[WORKERS + 1];     /* by run: how */
bit is_sending[WORKERS + 1];  /* by run: it sends its links and chain, and is quick: none of its clocks runs out now */

#define holder_is_quick (step.run_id != NOBODY && step.run_id != GONE && is_sending[step.run_id])

/* By checker, of which there are one or two: the attempt whose lease it has seen to have run out, before it reads the
 * record. */
byte lapses[CHECKERS];

/* Ask to start, and note if that is a second run of what only one may do. */
inline ask_to_start() {
  was_mine = (step.run_id == ME);
  start(ME, number, retries, is_stray);
  printf("run %d of attempt %d, retried %d times by Celery, asks to start: %e\n", ME, number, retries, verdict);
  if
  :: verdict == ACCEPTED && !was_mine ->
     lapses[0] = 0; lapses[CHECKERS - 1] = 0;  /* a lease that ran out before a run started was not its own */
     is_started_twice = is_started_twice || started[message(number, retries)];
     started[message(number, retries)] = 1
  :: else
  fi;
  was_mine = 0
}

inline ask_for_time() {
  heartbeat(ME, number);
  printf("run %d of attempt %d asks for time: %e\n", ME, number, verdict);
  if
  :: verdict == ACCEPTED && is_old[ME] == LATE -> is_old[ME] = 0
  :: else
  fi
}

/* The run let go of the attempt, if it held it. */
inline may_start_again() {
  if
  :: verdict == ACCEPTED -> started[message(number, retries)] = 0
  :: else
  fi
}

inline ask_to_finish() {
  claim_finish(ME, number, retries, is_stray);
  printf("run %d of attempt %d asks to finish: %e\n", ME, number, verdict);
  if
  :: verdict == ACCEPTED ->
     is_sending[ME] = 1;
     lapses[0] = 0; lapses[CHECKERS - 1] = 0  /* a lease that ran out before says nothing of it */
  :: else -> over()
  fi
}

/* Freeze for so long that clocks run out. */
inline stall() {
  stalls > 0 && is_sending[ME] -> stalls--; is_sending[ME] = 0; is_old[ME] = LAPSED; interrupted++;
  printf("run %d freezes\n", ME)
}

/* Celery is about to send the task again: the store is told, and keeps the message. */
inline ask_to_retry() {
  queue_again(ME, number, retries + 1);
  is_stray = (verdict != ACCEPTED);
  stored_retries = (is_stray -> stored_retries : retries + 1)
}

/* Celery sends the task again. The message goes out even where the store says that it will be refused. */
inline send_again() {
  publish(number, retries + 1, is_stray);
  printf("run %d of attempt %d is sent again by Celery\n", ME, number)
}

/* The run is over, and its name is free for another. */
inline over() {
  is_old[ME] = 0; is_sending[ME] = 0; is_known = 0; is_stray = 0; number = 0; retries = 0;
  if
  :: step.run_id == ME -> step.run_id = GONE
  :: else
  fi;
  goto end_idle
}

/* The store did not answer: what the run has come to is kept in memory, and told when the store is back. */
inline keep() {
  is_sending[ME] = 0; is_old[ME] = LAPSED  /* nobody renews its lease any more */
}

#define tell_later(rule) \
  if \
  :: atomic { rule; note_end(); printf("run %d tells what was kept: %e\n", ME, verdict); over() } \
  :: atomic { dies; over() } \
  fi

active [WORKERS] proctype worker() {
  byte number, retries;  /* what the message carries */
  bit is_stray;          /* likewise: it was sent by a run that did not hold the step */
  bit is_known;          /* the store has answered that the run may start */
  bit was_mine;

end_idle:
  atomic {
    receive(number, retries, is_stray);
    if
    :: ask_to_start();
       if
       :: verdict == ACCEPTED -> is_known = 1
       :: else -> over()
       fi
    :: is_unheard; ask_to_start()  /* tracking stops no task: */
    :: is_unheard                  /* the body runs in both cases */
    :: is_unheard; ask_to_start(); goto starting_again
    :: dies; printf("run %d of attempt %d is killed before it starts\n", ME, number); goto died
    :: losses > 0 -> losses--; over()
    :: thrown_away > 0 -> thrown_away--; put_back(number); over()
    :: thrown_away > 0 -> thrown_away--; throw_away(number, false); note_end(); over()
    fi
  };

body:
  if
  :: atomic { number == 1 && is_known && !is_old[ME] -> is_sending[ME] = 1 }  /* it cannot have been replaced */
  :: atomic { ask_to_finish() }
  :: atomic { is_unheard; claim_finish(ME, number, retries, is_stray); goto asking_again }
  :: atomic { is_unheard; interrupted++ }  /* a store that is down holds up no chain */
  :: atomic { fail(ME, number); note_end(); over() }
  :: atomic { ignored > 0 -> ignored--; cancel(ME, number); note_end(); over() }
  :: atomic { is_unheard; keep(); goto telling_failure }
  :: atomic { heartbeats > 0 -> heartbeats--; ask_for_time(); goto body }
  :: atomic { lets_go > 0 ->
       lets_go--; release(ME, number); may_start_again(); publish(number, retries, is_stray); over() }
  :: atomic { lets_go > 0 && is_unheard; lets_go--; publish(number, retries, is_stray); keep(); goto telling_release }
  :: atomic { lets_go > 0 -> lets_go--; hand_over(ME, number); may_start_again(); over() }
  :: atomic { retries < CELERY_RETRIES -> ask_to_retry(); goto retrying }
  :: atomic { retries < CELERY_RETRIES && is_unheard; is_stray = (step.run_id != ME); goto retrying_untold }
  :: atomic { dies; goto died }
  fi;

sending:
  if
  :: atomic { links++; printf("run %d of attempt %d sends links and chain\n", ME, number) }
  :: atomic { stall(); goto sending }
  :: atomic { dies; goto died }
  fi;

completing:
  if
  :: atomic { complete(ME); note_end(); printf("run %d completes: %e\n", ME, verdict); over() }
  :: atomic { is_unheard; interrupted++; keep(); goto telling_completion }
  :: atomic { stall(); goto completing }
  :: atomic { dies; interrupted++; goto died }
  fi;

starting_again:
  atomic {
    ask_to_start();
    if
    :: verdict == ACCEPTED -> is_known = 1; goto body
    :: else -> over()
    fi
  };

asking_again:
  atomic { ask_to_finish(); goto sending };

retrying:
  if
  :: atomic { send_again(); over() }
  :: atomic { dies; goto died }
  fi;

retrying_untold:
  if
  :: atomic { send_again(); keep(); goto telling_retry }
  :: atomic { dies; goto died }
  fi;

telling_completion:
  tell_later(complete(ME));

telling_failure:
  tell_later(fail(ME, number));

telling_retry:
  tell_later(ask_to_retry());

telling_loss:
  tell_later(lose(ME, number));

telling_release:
  tell_later(release(ME, number); may_start_again());

died:  /* the main process tells what became of its child, or is gone as well */
  if
  :: atomic { lose(ME, number); printf("the child of run %d of attempt %d is gone: %e\n", ME, number, verdict); over() }
  :: atomic { retries < CELERY_RETRIES -> ask_to_retry(); send_again(); over() }
  :: atomic { is_unheard; keep(); goto telling_loss }
  :: atomic { over() }
  fi
}
