"""The session manager: owns listening sockets, shells and output rings, and outlives releases."""
