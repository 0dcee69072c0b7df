"""The report of one rollout: a document collected from evidence, and its forms for people."""

from rollout.report.collect import VERSION, collect
from rollout.report.render import html, markdown

__all__ = ["VERSION", "collect", "html", "markdown"]
