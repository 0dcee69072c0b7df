"""Being asked to end: once, the rollout is taken back; once more, it stops where it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Final

from rollout.errors import RolloutError
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.ledger.whole import whole

POLL: Final = 0.5
ASKING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Takes SIGINT (Ctrl-C), SIGTERM and SIGHUP (a terminal that is gone) while in the ``with`` block.

    Between two steps a signal waits for :meth:`check`: what is written to the ledger is written whole. Inside
    :meth:`open` it raises ``KeyboardInterrupt`` at once, and waits for :meth:`check` all the same until that
    has come through: what is raised while an object is being taken away, the interpreter drops. So whatever
    waits inside :meth:`open` looks there now and then. A transaction of the ledger is ended first.
    ``tell(text)`` is for the operator's eyes.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._before: dict[int, Any] = {}
        self._waiting = ""
        self._open = False
        self._forgiving = 0
        self._hung_up = False
        self.by = ""
        """Who has asked by another way than a signal, and so is behind the next one."""

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            # Who has it ignored, as nohup does, wants it to go on.
            heard = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._asked) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def open(self) -> Iterator[None]:
        """For what may be left in the middle.

        Raises:
            KeyboardInterrupt: somebody asks, or has asked.
        """
        self._open = True
        try:
            self.check()
            yield
        except KeyboardInterrupt:
            self._waiting = ""
            raise
        finally:
            self._open = False

    def check(self) -> None:
        """Look whether somebody has asked.

        Raises:
            KeyboardInterrupt: so it is; says who.
        """
        if self._waiting:
            waiting, self._waiting = self._waiting, ""
            raise KeyboardInterrupt(waiting)

    def want(self, who: str) -> None:
        """Somebody has asked before anything was begun."""
        self._waiting = f"stopped by {who}"

    def going_back(self, *, asked: bool) -> None:
        """From here on everything is being taken back: of one who did not know, the first word is let pass.
        ``asked``: because somebody wanted it."""
        self._waiting = ""
        self._forgiving = 0 if asked else 1

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            if self._hung_up:
                return  # a terminal that goes says so more than once
            self._hung_up = True
        who, self.by = self.by or f"by {signal.Signals(number).name}", ""
        if self._forgiving:
            self._forgiving -= 1
            self._tell(f"stopped {who}: it is being taken back already; once more, and it stops where it is")
            return
        self._waiting = f"stopped {who}"
        if not whole.put_off(self._raise):
            self._raise()

    def _raise(self) -> None:
        if self._open:
            self._open = False
            raise KeyboardInterrupt(self._waiting)


@contextmanager
def heeding(ledger: Ledger, record: RolloutRecord, interrupts: Interrupts) -> Iterator[None]:
    """While a rollout is carried out: the word of another terminal comes like a signal."""
    over = threading.Event()
    main = threading.main_thread().ident

    def said() -> list[str]:
        with suppress(RolloutError):  # whoever carries it out meets that, too, and says so
            return [event.by for event in ledger.events(record.env, kind="cancel", rollout=record.id)]
        return []

    before = said()

    def look() -> None:
        while not over.wait(POLL):
            words = said()
            if len(words) > len(before) and main is not None:
                interrupts.by = f"by {words[-1]}"
                signal.pthread_kill(main, signal.SIGTERM)
                return  # a second word of this kind is no wish to have it stopped half way back

    if before and record.state is State.RUNNING:
        # It was said of a rollout that goes forward, and not heard by whoever carried it out then.
        interrupts.want(before[-1])
    thread = threading.Thread(target=look, name=f"cancel-{record.env}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
