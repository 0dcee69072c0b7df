"""Locust scenarios for the terminal services, and the verification they share with checks."""

COMMAND_EVERY = 0.5
"""Mean seconds between commands of one user."""
