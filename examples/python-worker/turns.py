"""Whose turn it is (docs/worker-protocol.md): arming, iterating, handing over, taking that back."""

import json
import os
import time

BUSY = ("iterating", "handing_over")
PROGRESS_S = 1


class FolderTurn:
    """The turn in a folder, for a worker without a resident. An engine puts in its place what its
    resident has, for instance a block pool's word (docs/kv-pool.md)."""

    def __init__(self):
        self._role, self._folder = os.environ["FULCRUM_WORKER_ROLE"], os.environ["FULCRUM_RESIDENT"]
        os.makedirs(self._folder, exist_ok=True)

    def now(self):
        files = [file for file in os.listdir(self._folder) if file.startswith(self._role + ".")]
        return max((int(file.split(".")[1]) for file in files), default=0)

    def load(self, turn):
        """What its holder left: the iteration that it ran last, and the tokens of the role."""
        if turn == 0:
            return {"iteration": 0, "tokens": 0}
        with open(self._file(turn)) as file:
            return json.load(file)

    def renew(self, turn, left):
        os.replace(self._written(left), self._file(turn))

    def make(self, turn, left):
        """In one step. False: somebody else was first."""
        written = self._written(left)
        try:
            os.link(written, self._file(turn))
            return True
        except FileExistsError:
            return False
        finally:
            os.unlink(written)  # the same file now: it must not be written to again

    def _file(self, turn):
        return f"{self._folder}/{self._role}.{turn}"

    def _written(self, left):
        name = f"{self._folder}/tmp.{os.getpid()}"
        with open(name, "w") as file:
            json.dump(left, file)
        return name


class Turns:
    """Changes the worker's standing `me` as the agent asks and as the turn at `place` goes.
    `send` tells the agent."""

    def __init__(self, me, place, send):
        self._me, self._place, self._send = me, place, send
        self._own, self._tokens = 0, 0  # the turn that it iterates under, and the role's tokens
        self._passing = []  # the requests for the hand-over under way
        self._looked_at, self._told_at = time.monotonic(), 0

    def take(self, request):
        """iterate, hand_over or keep."""
        me, turn, now = self._me, request.turn, self._place.now()
        match request.op, me["state"]:
            case ("iterate", "iterating") | ("hand_over", "handed_over") if turn <= now:
                request.accept()  # done already
            case "iterate", "armed" if turn == me["turn"] == now:
                request.accept()  # just coming
            case "iterate", "ready" | "armed" | "handed_over":
                self._arm(request, now)
            case "hand_over", "iterating":
                self._begin_passing(request, now)
            case "hand_over", "handing_over" if turn == me["turn"]:
                self._passing.append(request)
            case "keep", "armed" | "handed_over" if me["turn"] <= now:
                request.refuse("too_late")
            case "keep", state:
                me["state"] = {"armed": "ready", "handing_over": "iterating"}.get(state, state)
                for asked in self._end_passing():
                    asked.refuse("kept")
                request.accept()
            case _:
                request.refuse("bad_state")

    def look(self):
        """Before every iteration, and often while it waits."""
        me, now = self._me, self._place.now()
        mine = me["turn"] if me["state"] == "armed" else self._own
        if me["state"] == "armed" and now == mine:
            left = self._place.load(now)
            self._own, self._tokens = now, left["tokens"]
            me.update(state="iterating", iteration=left["iteration"])
            waited_ms = 1000 * (time.monotonic() - self._looked_at)
            first = me["iteration"] + 1
            self._send(event="iterating", turn=now, iteration=first, waitedMs=waited_ms)
        elif me["state"] in ("armed", *BUSY) and now > mine:
            self._stop()
            self._send(event="fenced", turn=now, iteration=me["iteration"])
        self._looked_at = time.monotonic()

    def ran(self, tokens):
        """After every iteration, with the tokens that it made; hands over if it was the last."""
        me = self._me
        me["iteration"] += 1
        self._tokens += tokens
        left = {"iteration": me["iteration"], "tokens": self._tokens}
        self._place.renew(self._own, left)
        if time.monotonic() - self._told_at > PROGRESS_S:
            self._told_at = time.monotonic()
            self._send(event="progress", **left)
        if me["state"] != "handing_over" or me["iteration"] < (self._passing[0].at or 0):
            return
        if self._place.make(me["turn"], left):
            self._stop()

    def _arm(self, request, now):
        turn, place = request.turn, self._place
        if turn <= now or (request.take and not place.make(turn, place.load(now))):
            request.refuse("stale_turn", turn=place.now())
        else:
            self._me.update(state="armed", turn=turn)
            request.accept()

    def _begin_passing(self, request, now):
        if request.turn <= now:
            request.refuse("stale_turn", turn=now)
        elif request.at is not None and request.at <= self._me["iteration"]:
            request.refuse("too_late")
        else:
            self._me.update(state="handing_over", turn=request.turn)
            self._passing.append(request)

    def _stop(self):
        self._me["state"] = "handed_over"
        for asked in self._end_passing():
            asked.accept()

    def _end_passing(self):
        passing, self._passing = self._passing, []
        return passing
