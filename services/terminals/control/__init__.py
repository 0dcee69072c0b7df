"""The control protocol on the session manager's unix socket.

Workers, web processes and operators' commands connect to it. It is a ``SOCK_SEQPACKET``
socket: one send is one packet, and file descriptors travel with the packet they belong to.
Only the owner of the socket's folder can reach it, and the manager checks the peer's uid.
"""

CONTROL_VERSION = 1
"""Version of the control protocol. Workers of another version are told so and refused."""
