"""gunicorn's worker process, with threads that wait for requests themselves."""

import errno
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from platform_core.slow_clients import Reading

PATIENCE_FOR_HEADS = 10.0
"""Seconds that a client may take to send a request's head. Its thread can do nothing else meanwhile."""
PATIENCE_FOR_ANSWERS = 30.0
"""Seconds that a client may go without taking anything of its answer, for the same reason."""
_READABLE = select.EPOLLIN | select.EPOLLONESHOT
_AT_ONCE = select.EPOLLOUT | select.EPOLLONESHOT
_NOBODY_THERE = (errno.EAGAIN, errno.ECONNABORTED)
_SHORT = 0.1


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread with leaders and followers: a request wakes one thread, which reads it, answers, and waits for the next.

    gthread's main thread waits for all connections, hands each over to a pool, and takes it back after the request.
    That costs three switches of threads and, where requests are small, as much CPU as the application does. Here the
    main thread has nothing but the clock: it tells that we are alive, and closes what has been idle for too long.

    ``keepalived_conns`` has the connections that wait, by file descriptor. Each is armed for one event; who takes one
    out of there, with a pop, owns it, and puts it back before arming it again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keepalived_conns: dict[int, TConn] = {}
        self._counting = threading.Lock()

    def init_process(self) -> None:
        self._epoll = select.epoll()
        self._listeners = {listener.fileno(): listener for listener in self.sockets}
        super().init_process()

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        for listener in self.sockets:
            listener.setblocking(False)
            self._epoll.register(listener, _READABLE)
        for _ in range(self.cfg.threads):
            threading.Thread(target=self._serve, daemon=True).start()
        while self.alive and self.is_parent_alive():
            self.notify()
            self.wait_for_and_dispatch_events(timeout=1.0)  # for SIGTERM, which ends the wait
            self._close_idle(time.monotonic())
            self._arm_listeners()
        self._stop()

    def _stop(self) -> None:
        """Requests in flight are answered, and for a moment those that a client may just be sending."""
        self.alive = False
        for listener in self.sockets:
            self._epoll.unregister(listener)
        until = time.monotonic() + self.cfg.graceful_timeout
        while self.nr_conns > 0 and time.monotonic() < until:
            self.notify()
            for waiting in self.keepalived_conns.copy().values():
                waiting.timeout = min(waiting.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
            self._close_idle(time.monotonic())
            time.sleep(_SHORT)
        for listener in self.sockets:
            listener.close()

    def _serve(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll(maxevents=1):
                try:
                    self._attend(descriptor)
                except BaseException:  # a thread that ended would be missed until the process does
                    self.log.exception("A connection could not be attended to.")

    def _attend(self, descriptor: int) -> None:
        if descriptor in self._listeners:
            self._accept(self._listeners[descriptor])
            return
        connection = self.keepalived_conns.pop(descriptor, None)
        if connection is None:
            return
        connection.data_ready = True
        connection.head = Reading(connection.sock, time.monotonic() + PATIENCE_FOR_HEADS)
        is_kept = False
        try:
            is_kept = self.handle(connection)
        finally:
            if not is_kept:
                connection.head.end()
                self._close(connection, graceful=True)
        if is_kept:
            connection.set_timeout()
            self._await(connection, self._epoll.modify)

    def handle_request(self, request: Any, connection: TConn) -> Any:
        """What ``handle`` calls when it has read the head. Not kept is a connection that was just cut off."""
        return connection.head.end() and super().handle_request(request, connection)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in _NOBODY_THERE:
                self.log.error("No connection can be accepted: %s", error)
                time.sleep(_SHORT)
        else:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE_FOR_ANSWERS * 1000))
            connection = TConn(self.cfg, client, address, listener.getsockname())
            with self._counting:
                self.nr_conns += 1
            connection.set_timeout()
            self._await(connection, self._epoll.register)
        finally:
            self._arm_listeners()

    def _arm_listeners(self) -> None:
        """When there is room for another connection; to arm one that is armed already does no harm."""
        if self.nr_conns < self.worker_connections:
            for descriptor in self._listeners:
                try:
                    self._epoll.modify(descriptor, _READABLE)
                except OSError:
                    if self.alive:
                        raise

    def _await(self, connection: TConn, arm: Callable[[int, int], None]) -> None:
        """What was read ahead, of a request that came right behind, makes no socket readable."""
        has_more = connection.initialized and connection.parser.unreader.buf.getvalue()
        descriptor = connection.sock.fileno()
        self.keepalived_conns[descriptor] = connection
        arm(descriptor, _AT_ONCE if has_more else _READABLE)

    def _close_idle(self, now: float) -> None:
        """Connections that nobody used until ``now``."""
        for descriptor, seen in self.keepalived_conns.copy().items():
            taken = self.keepalived_conns.pop(descriptor, None) if seen.timeout <= now else None
            if taken is not None and taken.timeout <= now:
                self._close(taken)
            elif taken is not None:  # another one by now, for descriptors are used again
                self._await(taken, self._epoll.modify)

    def _close(self, connection: TConn, *, graceful: bool = False) -> None:
        with suppress(OSError):  # an application that failed half-way has had it closed already
            connection.close(graceful)
        with self._counting:
            self.nr_conns -= 1
