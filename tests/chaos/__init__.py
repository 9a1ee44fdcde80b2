#: "1" in the environment of the program that starts processes: what could not be written down was not accepted.
STRICT = "TRELLIS_TEST_STRICT"
