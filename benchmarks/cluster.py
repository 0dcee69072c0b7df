"""What hosts that know of each other cost: the asking, an attach at the wrong one, and copies of screens.

    python -m benchmarks.cluster [--hosts 20 100] [--sessions 2000] [--seconds 30] [--attaches 100]
                                 [--screens 200]

A real host asks simulated ones, which answer as real ones do, and ask it as often. Screens are of real
shells, of a host that copies them to another one. Figures are of this machine; what counts are the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
from aiohttp import web
from terminals.cluster.news import News
from terminals.control.framing import pack
from terminals.control.memory import proportional_set_size
from terminals.manager.homes import PeerRules

from tests.support.fleet import fleet
from tests.support.stack import TOKEN, Stack, until

INTERVAL = PeerRules("", 0).interval
"""Seconds from one question to the next."""
TICKS = os.sysconf("SC_CLK_TCK")


def tag(number: int) -> str:
    return f"h{number:03d}"


def simulate(listeners: list[socket.socket], sessions: int, to_ask: Connection) -> None:
    """Answer as so many hosts, each with ``sessions`` sessions, all of whose ids name it; and ask, as each of
    them, whom ``to_ask`` says."""

    async def answer(number: int, listener: socket.socket) -> None:
        heard = {tag(other): 1.0 for other in range(len(listeners)) if other != number}
        news = News(
            name=f"host-{number}", tag=tag(number), instance=f"{number}", region="here",
            sessions=sessions, room=sessions, build="0.1.0-0123456789ab", heard=heard,
        )  # fmt: skip

        async def told(request: web.Request, body: bytes = pack(news)) -> web.Response:
            return web.Response(body=body, content_type="application/json")

        app = web.Application()
        app.router.add_get("/peers", told)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()

    async def ask(number: int, url: str, client: aiohttp.ClientSession) -> None:
        # Not all at once.
        await asyncio.sleep(INTERVAL * number / len(listeners))
        said = {"name": f"host-{number}", "tag": tag(number), "instance": f"{number}"}
        while True:
            async with client.get(url, params=said) as response:
                await response.read()
            await asyncio.sleep(INTERVAL)

    async def serve() -> None:
        for number, listener in enumerate(listeners):
            await answer(number, listener)
        url = await asyncio.to_thread(to_ask.recv)
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
            await asyncio.gather(*(ask(number, url, client) for number in range(len(listeners))))

    asyncio.run(serve())


def cpu(pid: int) -> float:
    """Seconds that a process has computed for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def asking(hosts: int, sessions: int, seconds: float) -> dict[str, float]:
    """What a host computes that asks so many others and is asked by them, in percent of a core, and the bytes
    of one answer, and of all that it is answered in a second."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(hosts)]
    to_say, to_ask = multiprocessing.Pipe()
    others = multiprocessing.get_context("fork").Process(
        target=simulate, args=(listeners, sessions, to_ask), daemon=True
    )
    others.start()
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text(TOKEN)
        stack = Stack(
            tag="door",
            peers={"host": "127.0.0.1", "port": 0, "token": str(token), "name": "door"},
            hosts={
                f"host-{number}": {
                    "tag": tag(number),
                    "urls": {"system": f"ws://127.0.0.1:{4000 + number}/"},
                    "peers": f"http://127.0.0.1:{listener.getsockname()[1]}",
                }
                for number, listener in enumerate(listeners)
            },
        )
        try:
            stack.start_generation("g1", weight=100)
            until(
                lambda: all(e["standing"] in ("here", "there") for e in stack.admin("hosts")["items"]),
                "all there",
                timeout=60,
            )
            to_say.send(f"http://127.0.0.1:{stack.admin('hosts')['port']}/peers")
            time.sleep(2 * INTERVAL)  # until each asks
            pids = {"manager": stack.processes["manager"].pid, "asker": stack.admin("hosts")["asker"]}
            before = {name: cpu(pid) for name, pid in pids.items()}
            began = time.monotonic()
            time.sleep(seconds)
            spent = time.monotonic() - began
            used = {
                f"{name} % of a core": 100 * (cpu(pid) - before[name]) / spent for name, pid in pids.items()
            }
        finally:
            stack.close()
            others.kill()
    heard = {tag(other): 1.0 for other in range(hosts - 1)}
    news = News(name="host-1", tag=tag(1), instance="1" * 25, sessions=sessions, room=sessions, heard=heard)
    size = float(len(pack(news)))
    return {**used, "bytes of an answer": size, "KB answered a second": hosts * size / INTERVAL / 1000}


def attaching(count: int) -> dict[str, float]:
    """Milliseconds of an attach at the right host, and at the wrong one, in turn."""
    took: dict[str, list[float]] = {"right": [], "wrong": []}
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder), "ab") as hosts:
        hosts.wait("a", "b", "there")
        with hosts.stacks["b"].terminal() as terminal:
            session = terminal.session
            for number in range(2 * count):
                where = "right" if number % 2 else "wrong"
                looker = hosts.stacks["b" if number % 2 else "a"].terminal(session=session, watch=True)
                began = time.perf_counter()
                looker.open()
                took[where].append(1000 * (time.perf_counter() - began))
                looker.close()
    medians = {f"attach at the {where} host, ms": statistics.median(values) for where, values in took.items()}
    return {**medians, "ratio": statistics.median(took["wrong"]) / statistics.median(took["right"])}


def copying(sessions: int, seconds: float, interval: float) -> dict[str, float]:
    """What a host computes whose shells print a line a second each, in percent of a core, by who computes it,
    and what the other host keeps. ``interval``: between two copies of a screen; 0: none is made."""
    # Without another process, which would cost more than all that is measured.
    line = r'while :; do printf "\e[3%dm%(%T)T %s\n" $((RANDOM % 8)) -1 $RANDOM$RANDOM; read -rt 1; done'
    profile = {"command": ["/bin/bash", "-c", line]}
    settings = {
        "screens": interval,
        "profiles": {"system": profile, "claude": profile},
        "max_sessions": 10 * sessions,  # with less room some would begin at the other
    }
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder), "ab", **settings) as hosts:
        a, b = hosts.stacks.values()
        for _ in range(sessions):
            with a.terminal(cols=120, rows=40) as terminal:
                terminal.close()
        kept = b.root / "state" / "screens" / "aaaa"
        if interval:
            until(lambda: kept.is_dir() and len(list(kept.iterdir())) >= sessions, "all being copied", 300)
        pids = {"manager": a.processes["manager"].pid, "its asker": a.admin("hosts")["asker"]}
        if (keeper := a.status()["screens"]["keeper"]) is not None:
            pids["its keeper of screens"] = keeper
        pids["the other's asker"] = b.admin("hosts")["asker"]
        before = {name: cpu(pid) for name, pid in pids.items()}
        began = time.monotonic()
        time.sleep(seconds)
        spent = time.monotonic() - began
        used = {f"{name} % of a core": 100 * (cpu(pid) - before[name]) / spent for name, pid in pids.items()}
        sizes = [path.stat().st_size for path in kept.iterdir()] if interval else [0]
        memory = proportional_set_size(keeper) / 1e6 if keeper is not None else 0.0
        return {
            **used,
            "MB of its keeper of screens": memory,
            "bytes of a copy, median": statistics.median(sizes),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=[20], nargs="+")
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--attaches", type=int, default=100)
    parser.add_argument("--screens", type=int, default=200, help="sessions whose screens are copied")
    options = parser.parse_args()
    found = {
        "none asked": asking(0, 0, options.seconds),
        **{f"{many} asked": asking(many, options.sessions, options.seconds) for many in options.hosts},
        "attach": attaching(options.attaches),
        "no copies": copying(options.screens, options.seconds, 0),
        "copies, 5 s": copying(options.screens, options.seconds, 5),
    }
    for what, figures in found.items():
        for name, value in figures.items():
            print(f"{what:<12} {name:<32} {value:.2f}")


if __name__ == "__main__":
    main()
