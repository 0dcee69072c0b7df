"""The monitor: uses the terminals as people do, again and again, and writes down what it saw.

``clock``, ``records``, ``history``, ``alerts`` and ``summary`` decide and do no I/O; ``check``,
``figures``, ``journal``, ``files`` and ``notify`` each touch one thing; ``service`` is the loop.
"""
