"""``make lab``: real hosts to deploy to, as containers with sshd and their own Docker engine."""
