"""Signing in by a provider of OpenID Connect: authorization code with PKCE.

Imported only where one is configured, for its libraries are many. Nothing of a sign-in that has begun is in
this process's memory: what the way back needs is in a cookie, so that another process of any build may go on.
"""
