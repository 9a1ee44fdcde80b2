/* A broker that loses, repeats, delays and reorders messages.
 *
 * The bad one forgets nothing: each message that was ever sent may come at any time, any number of times, or never. No
 * broker can do anything to the safety of a step that this one does not. That a step comes to an end it cannot promise:
 * for that there is the other one, which loses and repeats only so many.
 */

#ifndef IS_BAD
#define IS_BAD 1
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef REPEATS
#define REPEATS 0
#endif

#define MOST_ATTEMPTS ((1 + RETRIES_PERMITTED) * (1 + REOPENED))
#define MESSAGES ((MOST_ATTEMPTS + 2) * (1 + CELERY_RETRIES))
#define message(number, retries) (((number) * (1 + CELERY_RETRIES)) + (retries))
#define MOST_COPIES (IS_BAD -> 1 : 2)

byte losses = LOSSES, repeats = REPEATS;
byte copies[MESSAGES];  /* by attempt and Celery's retries */
bit strays[MESSAGES];   /* likewise, of those that a run sent again which did not hold the step */

/* A third copy of a message is not kept: it would be refused like the second. */
inline publish(number, retries, is_stray) {
  if
  :: is_stray -> strays[message(number, retries)] = 1
  :: !is_stray && copies[message(number, retries)] < MOST_COPIES -> copies[message(number, retries)]++
  :: else
  fi
}

#define is_there(n, r)     ((n) <= MOST_ATTEMPTS && (r) <= CELERY_RETRIES && copies[message(n, r)] > 0)
#define is_stray_there(n)  ((n) <= MOST_ATTEMPTS && 1 <= CELERY_RETRIES && strays[message(n, 1)])

inline receive(number, retries, is_stray) {
  if
  :: is_there(1, 0) -> number = 1
  :: is_there(2, 0) -> number = 2
  :: is_there(3, 0) -> number = 3
  :: is_there(4, 0) -> number = 4
  :: is_there(1, 1) -> number = 1; retries = 1
  :: is_there(2, 1) -> number = 2; retries = 1
  :: is_there(3, 1) -> number = 3; retries = 1
  :: is_there(4, 1) -> number = 4; retries = 1
  :: is_there(1, 2) -> number = 1; retries = 2
  :: is_stray_there(1) -> number = 1; retries = 1; is_stray = 1
  :: is_stray_there(2) -> number = 2; retries = 1; is_stray = 1
  :: is_stray_there(3) -> number = 3; retries = 1; is_stray = 1
  :: is_stray_there(4) -> number = 4; retries = 1; is_stray = 1
  fi;
  if
  :: IS_BAD
  :: !IS_BAD && is_stray -> strays[message(number, retries)] = 0
  :: !IS_BAD && !is_stray -> copies[message(number, retries)]--
  :: !IS_BAD && repeats > 0 -> repeats--
  fi
}
