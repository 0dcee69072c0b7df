"""Whatever another host answers: it is asked again, and what is no answer counts as none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from terminals.cluster.asker import MAX_ANSWER, Asker
from terminals.cluster.news import Heard, Neighbour, News, Own, Plan, Unheard, read_by_manager
from terminals.control import framing
from terminals.control.framing import pack

GOOD = News(name="b", tag="bbbb", instance="i")
BAD: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = []


def bad(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
    BAD.append(answer)


@bad
async def not_there(request: web.Request) -> web.Response:
    return web.Response(status=404)


@bad
async def no_json(request: web.Request) -> web.Response:
    return web.Response(body=b"\xff\xfe{")


@bad
async def nothing_that_is_known(request: web.Request) -> web.Response:
    return web.Response(body=b'{"name": 4}')


@bad
async def another_host(request: web.Request) -> web.Response:
    return web.Response(body=pack(News(name="c", tag="cccc", instance="i")))


@bad
async def without_end(request: web.Request) -> web.Response:
    return web.Response(body=b" " * (MAX_ANSWER + 1))


@bad
async def too_much_for_a_packet(request: web.Request) -> web.Response:
    strays = [f"session_{number:013d}_{'x' * 20}" for number in range(5000)]
    return web.Response(body=pack(News(name="b", tag="bbbb", instance="i", strays=strays)))


@bad
async def the_end(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@bad
async def too_late(request: web.Request) -> web.Response:
    await asyncio.sleep(5)
    return web.Response(body=pack(GOOD))


def test_what_is_no_answer_is_none_and_the_host_is_asked_again(tmp_path: Path):
    async def scenario() -> list[object]:
        left = [*BAD]

        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.query["tag"] == "aaaa"
            return await left.pop(0)(request) if left else web.Response(body=pack(GOOD))

        app = web.Application()
        app.router.add_get("/peers", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        other, own = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        await web.SockSite(runner, other).start()
        (tmp_path / "token").write_text("secret")
        plan = Plan(
            neighbours=[
                Neighbour(name="b", tag="bbbb", address=f"http://127.0.0.1:{other.getsockname()[1]}")
            ],
            interval=0.3,
            control=str(tmp_path / "manager.sock"),
            socket=str(tmp_path / "hosts.sock"),
            token=str(tmp_path / "token"),
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        task = asyncio.create_task(Asker(theirs, own, plan).run())
        framing.send(ours, framing.encode(Own(news=News(name="a", tag="aaaa", instance="j"))))
        heard: list[object] = []
        while not heard or not isinstance(heard[-1], Heard):
            data, _ = await asyncio.wait_for(asyncio.to_thread(framing.receive, ours), 60)
            heard.append(read_by_manager(data))
        ours.close()
        await asyncio.wait_for(task, 60)
        await runner.cleanup()
        return heard

    *failed, last = asyncio.run(scenario())
    assert last == Heard(news=GOOD)
    assert len(failed) >= len(BAD) - 1  # where a kept connection is ended, aiohttp asks again by itself
    assert all(isinstance(each, Unheard) and each.tag == "bbbb" and each.reason for each in failed)
