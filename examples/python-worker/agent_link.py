"""The connection to the agent (docs/worker-protocol.md): the hello, requests and their answers, and
the way back when it breaks."""

import json
import os
import queue
import signal
import socket
import threading
import time

MAX_LINE_BYTES = 65536
HANGS_UP_S = 1  # an agent that refuses a hello does so within it
OPS = ("attach", "iterate", "hand_over", "keep", "drain", "leave", "status")
_writing = threading.Lock()


class Request:
    """A line of the agent's. Its answer goes to the connection that it came on, or nowhere."""

    def __init__(self, connection, standing, fields):
        self._connection, self._standing = connection, standing
        self.id, self.op = fields.get("id"), fields.get("op")
        self.turn, self.at = fields.get("turn"), fields.get("at")
        self.take = fields.get("take", False)

    def is_right(self):
        if self.op == "iterate":
            return _is_whole(self.turn, 1) and type(self.take) is bool
        if self.op == "hand_over":
            return _is_whole(self.turn, 1) and (self.at is None or _is_whole(self.at, 0))
        return self.op in OPS

    def accept(self, **more):
        _write(self._connection, id=self.id, ok=True, **self._standing, **more)

    def refuse(self, code, **more):
        message = f"{str(self.op)[:50]} while {self._standing['state']}"
        _write(self._connection, id=self.id, ok=False, code=code, message=message, **more)


class AgentLink:
    """`standing`: what every hello and answer says, kept up by the worker. One that does not
    iterate leaves when no agent has had it for FULCRUM_WORKER_ABANDON_S; refusals do not count."""

    def __init__(self, standing, synchronise):
        self.requests = queue.Queue()  # right ones only; taken by the worker between two iterations
        self._standing, self._synchronise = standing, synchronise
        self._connection = None
        self._had_at = time.monotonic()
        signal.signal(signal.SIGTERM, lambda *_: self.leave())
        threading.Thread(target=self._stay_connected, daemon=True).start()

    def send(self, **event):
        _write(self._connection, **event)

    def leave(self):
        self._synchronise()
        os._exit(0)

    def _stay_connected(self):
        abandon_s = float(os.environ.get("FULCRUM_WORKER_ABANDON_S", 60))
        while True:
            tried = time.monotonic()
            with socket.socket(socket.AF_UNIX) as connection:
                try:
                    connection.connect(os.environ["FULCRUM_WORKER_SOCKET"])
                    self._serve(connection)
                except OSError:
                    pass  # no agent is there, or not any more
            time.sleep(max(0, tried + 1 - time.monotonic()))
            if self._standing["state"] in ("iterating", "handing_over"):
                continue
            if time.monotonic() - self._had_at > abandon_s:
                self.leave()

    def _serve(self, connection):
        since, is_had = time.monotonic(), False
        _write(connection, **_identity(), **self._standing)
        self._connection = connection
        with connection.makefile("rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES + 1):
                rest = line
                while rest and not rest.endswith(b"\n"):  # it is too long
                    rest = lines.readline(MAX_LINE_BYTES)
                if self._take(connection, line):
                    is_had = True
        if is_had or time.monotonic() - since > HANGS_UP_S:
            self._had_at = time.monotonic()

    def _take(self, connection, line):
        """Says whether the line was a request."""
        try:
            fields = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            fields = {}
        if fields.get("type") == "refused":
            return False
        if type(fields.get("id")) is not int:
            Request(connection, self._standing, {}).refuse("bad_request")
            return False
        request = Request(connection, self._standing, fields)
        if request.is_right():
            self.requests.put(request)
        else:
            request.refuse("bad_request")
        return True


def _is_whole(value, least):
    return type(value) is int and least <= value < 2**53


def _identity():
    env = os.environ
    return {
        "type": "hello",
        "protocol": 1,
        "pid": os.getpid(),
        "worker": env["FULCRUM_WORKER_ID"],
        "role": env["FULCRUM_WORKER_ROLE"],
        "rank": int(env["FULCRUM_WORKER_RANK"]),
        "generation": int(env["FULCRUM_GENERATION"]),
        "smPct": float(env["FULCRUM_SM_PCT"]),
    }


def _write(connection, **line):
    try:
        with _writing:
            connection.sendall(json.dumps(line).encode() + b"\n")
    except (AttributeError, OSError):
        pass  # not connected, or not any more: the next hello says it all
