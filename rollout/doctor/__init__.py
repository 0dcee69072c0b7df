"""What is wrong with the control machine and with the hosts, each finding with its remedy."""

from rollout.doctor.authority import examine_authority
from rollout.doctor.control import examine_control
from rollout.doctor.door import examine_door
from rollout.doctor.finding import Finding
from rollout.doctor.hosts import examine_hosts
from rollout.doctor.local import examine_host, examine_machine
from rollout.doctor.oidc import examine_oidc
from rollout.doctor.receivers import examine_receivers

__all__ = [
    "Finding",
    "examine_authority",
    "examine_control",
    "examine_door",
    "examine_host",
    "examine_hosts",
    "examine_machine",
    "examine_oidc",
    "examine_receivers",
]
