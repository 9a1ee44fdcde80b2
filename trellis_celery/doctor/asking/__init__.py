"""Gathering facts: everything that asks a server, a worker or the app. Nothing here says what is good or bad."""
