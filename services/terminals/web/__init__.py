"""The HTTP service of a generation: health, API and the page with the terminals.

It listens nowhere. The session manager accepts connections on the web port and passes
them over, so a release replaces this process without closing the port.
"""
