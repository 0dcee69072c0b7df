"""What outlives everything else on a host: shells, listening sockets, a copy of each descriptor.

The holder starts shells and is their parent, binds sockets, and keeps what the session manager
puts here. It reads and writes no terminal, reads nothing from the network, and knows nothing of
what it keeps. So it need not be replaced, where a manager can be at any time: the next one asks
for what there is, and goes on.

It is the standard library and nothing else, in an interpreter without site packages::

    python -I -S .../terminals/holder /run/terminals/holder.sock

Its protocol is in :mod:`terminals.holder.main`, and for those who write the other end in
docs/reference/holder-protocol.md.
"""
