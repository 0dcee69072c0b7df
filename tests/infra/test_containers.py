"""The containers of the environment: those that were declared, as they were declared, and no others."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

CLOCK_SECONDS = 5.0


def test_all_declared_containers_run(containers, expected, saw):
    wanted = [name for name, declared in expected["containers"].items() if declared["runs"]]
    missing = []
    for name in wanted:
        # Of what a Swarm runs, one that has ended may be there beside the one that runs.
        states = {one.state["Status"] for one in containers if fnmatchcase(one.known_as, name)}
        if "running" not in states:
            missing.append(f"{name} {' and '.join(sorted(states)) or 'is missing'}")
    assert not missing, "; ".join(missing)
    saw(f"{len(wanted)} of {len(wanted)}")


def test_nothing_else_runs(containers, expected, saw):
    extra = [f"{one.name} ({one.config['Image']})" for one in containers if one.runs and not one.declared]
    assert not extra, f"not declared: {'; '.join(extra)}"
    saw(f"{sum(one.runs for one in containers)} run, all declared")


def test_healthy(running, saw):
    bad = [f"{one.name} is {one.health}" for one in running if one.health != "healthy"]
    assert not bad, "; ".join(bad)
    saw(f"{len(running)} healthy")


def test_images_are_those_of_the_ledger(running, saw):
    wrong = [
        f"{one.name} runs {one.facts['Image'][7:19]} ({one.config['Image']}),"
        f" not {' or '.join(image[7:19] for image in one.declared['images'])}"
        for one in running
        if one.facts["Image"] not in one.declared["images"]
    ]
    assert not wrong, "; ".join(wrong)
    saw(", ".join(sorted({one.facts["Image"][7:19] for one in running})))


def test_content_is_that_of_the_ledger(running, saw):
    wrong = [
        f"{one.name} has {one.labels.get('rollout.digest', 'no digest')[:19]}"
        for one in running
        if one.labels.get("rollout.digest", "").removeprefix("sha256:") not in one.declared["images"].values()
    ]
    assert not wrong, "; ".join(wrong)
    saw(", ".join(sorted({one.labels["rollout.digest"][7:19] for one in running})))


def test_not_root(running, expected, saw):
    wrong = [
        f"{one.name} is {one.config['User'] or 'root'}"
        for one in running
        if one.config["User"] != expected["user"]
    ]
    assert not wrong, "; ".join(wrong)
    saw(expected["user"])


def test_no_capabilities(running):
    wrong = [
        f"{one.name} {'is privileged' if one.limits['Privileged'] else one.limits['CapAdd'] or 'drops none'}"
        for one in running
        if one.limits["Privileged"] or one.limits["CapAdd"] or one.limits["CapDrop"] != ["ALL"]
    ]
    assert not wrong, "; ".join(wrong)


def test_no_new_privileges(running):
    allowed = {"no-new-privileges", "no-new-privileges:true"}
    # `docker service create` has no such option. There is no capability either that it would keep away.
    others = [one for one in running if not one.of_a_swarm]
    wrong = [one.name for one in others if not allowed & set(one.limits["SecurityOpt"] or ())]
    assert not wrong, f"may gain privileges: {', '.join(wrong)}"


def test_no_seccomp_or_apparmor_taken_off(running):
    wrong = [
        one.name
        for one in running
        if any("unconfined" in option for option in one.limits["SecurityOpt"] or ())
    ]
    assert not wrong, f"unconfined: {', '.join(wrong)}"


def test_root_file_system_is_read_only(running):
    wrong = [one.name for one in running if not one.limits["ReadonlyRootfs"]]
    assert not wrong, f"writable: {', '.join(wrong)}"


def test_only_holder_and_monitor_have_a_network(running, expected):
    """And web, where it has to reach the provider that people sign in by; and the session manager,
    where it asks other hosts."""

    def allowed(one) -> tuple[str, str]:
        kind = "web" if one.is_web else "manager" if one.is_manager else None
        return "none", expected[f"{kind}_network"] if kind else "none"

    wrong = [
        f"{one.name} has {one.limits['NetworkMode']}"
        for one in running
        if not (one.is_holder or one.is_monitor or one.of_a_swarm)
        and one.limits["NetworkMode"] not in allowed(one)
    ]
    for one in running:
        may = {expected["swarm_network"], *({expected["web_network"]} if one.is_web else ())}
        if one.of_a_swarm and not one.networks <= may:
            wrong.append(f"{one.name} is in {', '.join(sorted(one.networks))}")
    assert not wrong, "; ".join(wrong)


def test_no_access_to_the_host(running):
    """No name spaces of the host's, no devices, and of its files only the configuration of what outlives a
    release."""
    wrong = []
    for one in running:
        spaces = [
            kind for kind in ("PidMode", "IpcMode", "UTSMode", "NetworkMode") if one.limits[kind] == "host"
        ]
        named = "manager" if one.is_manager else "monitor" if one.is_monitor else None
        allowed = {f"/etc/terminals/{named}.json"} if named else set()
        binds = [
            m["Source"]
            for m in one.facts["Mounts"]
            if m["Type"] == "bind" and m["Destination"] not in allowed
        ]
        if found := spaces + binds + [device["PathOnHost"] for device in one.limits["Devices"] or ()]:
            wrong.append(f"{one.name} has {', '.join(found)}")
    assert not wrong, "; ".join(wrong)


def test_published_ports_are_those_declared(containers, expected, saw):
    found = {port for one in containers if one.runs for port in one.published}
    missing, extra = set(expected["published"]) - found, found - set(expected["published"])
    assert not missing and not extra, "; ".join(
        [
            *(f"{port} is missing" for port in sorted(missing)),
            *(f"{port} is not declared" for port in sorted(extra)),
        ]
    )
    saw(", ".join(sorted(found)))


def test_processes_and_memory_are_limited(running):
    wrong = []
    for one in running:
        has, declared = one.limits["Memory"], one.declared["memory"]
        if (one.limits["PidsLimit"] or 0) <= 0:
            wrong.append(f"{one.name} may have any number of processes")
        if declared and has != declared:
            wrong.append(
                f"{one.name} may take {has or 'any number of'} bytes, not {declared}: docker update"
                f" --memory {declared} --memory-swap {2 * declared} {one.name}"
            )
        elif not has and not (
            one.is_holder or one.is_manager
        ):  # theirs grows with the shells, whose number is limited
            wrong.append(f"{one.name} may take any number of bytes")
    assert not wrong, "; ".join(wrong)


def test_come_back_after_a_reboot(running):
    wrong = [
        one.name
        for one in running
        if not one.of_a_swarm and one.limits["RestartPolicy"]["Name"] not in ("unless-stopped", "always")
    ]
    assert not wrong, f"would stay down: {', '.join(wrong)}"


def test_no_secret_in_the_environment(running):
    wrong = [
        f"{one.name} has {name}"
        for one in running
        for name in (entry.partition("=")[0] for entry in one.config["Env"] or ())
        if any(word in name for word in ("TOKEN", "SECRET", "PASSWORD")) and not name.endswith("_FILE")
    ]
    assert not wrong, "; ".join(wrong)


def test_shells_have_the_time(running, ask, saw):
    holder = next(one.name for one in running if one.is_holder)
    before = time.time()
    there = float(ask("docker", "exec", holder, "date", "+%s.%N"))
    off = max(before - there, there - time.time(), 0.0)
    assert off < CLOCK_SECONDS, f"{off:.1f} s off from the control machine"
    saw(ask("docker", "exec", holder, "date", "+%Y-%m-%dT%H:%M:%S%z"))
