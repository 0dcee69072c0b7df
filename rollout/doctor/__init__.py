"""What is wrong with the control machine and with the hosts, each finding with its remedy."""

from rollout.doctor.control import examine_control
from rollout.doctor.finding import Finding
from rollout.doctor.hosts import examine_hosts

__all__ = ["Finding", "examine_control", "examine_hosts"]
