"""The Swarm of an environment."""
