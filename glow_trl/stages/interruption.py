"""Ctrl-C and SIGTERM, which end a command in good order."""

import contextlib
import signal
import sys
import threading
import time
from typing import Any


_AGAIN_SECONDS = 0.05


class Interruption:
    """
    Turns SIGINT and SIGTERM into a `KeyboardInterrupt` in the main thread, in a `with` statement there.

    Attributes:
        number (`int`, *optional*): the first signal that came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._over = False
        self._was_lost = False

    def __enter__(self) -> "Interruption":
        self._handlers: dict[int, Any] = {}
        self._hook = sys.unraisablehook
        self._thread = threading.get_ident()
        # Only the main thread may set handlers; nor are there any to set back for what Python did not set
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A job in the background of a shell's script is started with SIGINT ignored
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._handle) or signal.SIG_DFL
            sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *_: Any) -> None:
        self._over = True
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def _handle(self, number: int, frame: Any) -> None:
        # Whoever stops it may do so twice, as a launcher does after Ctrl-C. A user who insists gets their way
        if self._over or (self.number is not None and number != signal.SIGINT and not self._was_lost):
            return
        self.number = self.number or number
        self._was_lost = False
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        """Raise again what was raised where nothing can be, such as in a finalizer, and would be lost there."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._hook(unraisable)
            return
        self._was_lost = True
        threading.Thread(target=self._interrupt_again, daemon=True).start()

    def _interrupt_again(self) -> None:
        time.sleep(_AGAIN_SECONDS)
        # Nothing, if what it was raised in has ended meanwhile
        if not self._over:
            with contextlib.suppress(ProcessLookupError):
                # The signal that came: the other may be one that is ignored
                signal.pthread_kill(self._thread, self.number or signal.SIGINT)
