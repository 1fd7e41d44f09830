"""A worker of Fulcrum's worker protocol (docs/worker-protocol.md), in Python's standard library
alone (3.10 or newer). Your engine goes where attach, run_iteration and synchronise are."""

import os
import threading
import time
from agent_link import AgentLink
from turns import BUSY, FolderTurn, Turns


def attach():
    """Maps weights and KV storage, warms up. Returns the SMs that its context sees, or None."""
    return int(os.environ.get("EXAMPLE_SM_COUNT", 0)) or None


def run_iteration():
    """Returns the tokens that it made."""
    time.sleep(0.01)
    return 1


def synchronise():
    """Waits until the device has done all that it was given."""


def make_ready():
    me.update(smCount=attach(), state="ready")
    link.send(event="ready", smCount=me["smCount"], tookMs=0)


def take(request):
    match request.op:
        case "attach" if me["state"] == "new":
            me["state"] = "attaching"
            request.accept()
            threading.Thread(target=make_ready, daemon=True).start()
        case "iterate" | "hand_over" | "keep":
            turns.take(request)
        case "drain" if me["state"] in BUSY:
            request.refuse("bad_state")
        case "drain":
            me["state"] = "draining"  # gives back its leases; this one never has any
            request.accept(leases=0)
        case _:
            request.accept(leases=0)
            if request.op == "leave":
                link.leave()


me = {"state": "new", "turn": None, "iteration": 0, "smCount": None}
link = AgentLink(me, synchronise)
turns = Turns(me, FolderTurn(), link.send)
while True:
    while not link.requests.empty():
        take(link.requests.get())
    turns.look()
    if me["state"] in BUSY:
        turns.ran(run_iteration())
    else:
        time.sleep(0.001)
