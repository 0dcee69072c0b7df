"""A Docker Swarm that has the generations of an environment: its nodes and its services."""
