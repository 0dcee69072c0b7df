"""``rollout dashboard``: a live page of all environments, for whoever operates them.

What it shows it asks of the ledger and the hosts; what it does are commands of ``rollout``, run as the user
who has started it. It keeps nothing that anything else depends on.
"""
