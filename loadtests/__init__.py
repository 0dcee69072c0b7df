"""Locust scenarios for the terminal services, and the verification they share with checks."""
