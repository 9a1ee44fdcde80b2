"""What the tests with real servers and workers stand on."""
