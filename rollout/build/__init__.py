"""Builds: made once, identified by version and content, carried unchanged from environment to environment."""

from rollout.build.make import build
from rollout.build.store import BuildStore

__all__ = ["BuildStore", "build"]
