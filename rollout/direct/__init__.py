"""Straight to the hosts: over SSH with Fabric, or on this machine.

For the day on which everything else is what fails. Nothing in here may import Ansible, the ledger or the
pipeline; an import contract keeps it so.
"""
