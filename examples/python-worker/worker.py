"""A worker of Fulcrum's worker protocol (docs/worker-protocol.md) in Python's standard library alone (3.10 or newer).
Your engine goes where attach, run_iteration and synchronise are; where the turn lies is folder_turn's affair."""
import json, os, signal, time
import agent_link, folder_turn
from agent_link import send

BUSY = ("iterating", "handing_over")
me = {"state": "new", "turn": None, "iteration": 0, "smCount": None}
passing, at_iteration, own = [], 0, 0  # who waits for the hand-over under way, and when; the turn it iterates under
def attach(): return int(os.environ.get("EXAMPLE_SM_COUNT", 0)) or None  # maps weights and KV, warms up; the SMs that it sees
def run_iteration(): time.sleep(0.01)
def synchronise(): pass
def leave(*_): synchronise(); os._exit(0)

def stop_passing(state, **answer):
    me["state"] = state
    while passing: send(id=passing.pop(0), **(answer or {"ok": True, **me}))

def handle(id=None, op=None, turn=0, at=None, take=False, **_):
    global at_iteration
    state, now = me["state"], folder_turn.now()
    def no(code): send(id=id, ok=False, code=code, message=f"{str(op)[:50]} while {state}, turn {now}", turn=now or None)
    match op, state:
        case "iterate" | "hand_over", _ if turn < 1: return no("bad_request")
        case ("iterate", "iterating") | ("hand_over", "handed_over") if turn <= now: pass  # done already
        case "iterate", "ready" | "armed" | "handed_over":
            if turn <= now and (state, turn, now) != ("armed", me["turn"], turn): return no("stale_turn")
            me.update(state="armed", turn=turn)
            if take and now < turn: folder_turn.make(turn, folder_turn.load(now))
        case "hand_over", "handing_over" if turn == me["turn"]: return passing.append(id)
        case "hand_over", "iterating":
            if turn <= now or (at is not None and at <= me["iteration"]):
                return no("stale_turn" if turn <= now else "too_late")
            passing.append(id)
            at_iteration = at or 0
            return me.update(state="handing_over", turn=turn)
        case "keep", "handing_over": stop_passing("iterating", ok=False, code="kept", message="it goes on")
        case "keep", "armed" | "handed_over":
            if state == "handed_over" or me["turn"] <= now: return no("too_late")
            me["state"] = "ready"
        case ("iterate" | "hand_over", _) | ("drain", "iterating" | "handing_over"): return no("bad_state")
        case "drain", _: me["state"] = "draining"
        case "attach" | "keep" | "leave" | "status", _: pass
        case _: return no("bad_request")
    send(id=id, ok=True, leases=0, **me)
    if op == "leave": leave()
    if op == "attach" and state == "new":
        me.update(smCount=attach(), state="ready")
        send(event="ready", smCount=me["smCount"], tookMs=0)

signal.signal(signal.SIGTERM, leave)
agent_link.start(me, lambda: me["state"] in BUSY, leave)
told, looked = 0, time.time()
while True:
    while not agent_link.inbox.empty():
        try: handle(**json.loads(agent_link.inbox.get()))
        except (ValueError, TypeError): send(id=None, ok=False, code="bad_request", message="not a request")
    state, now = me["state"], folder_turn.now()
    mine = me["turn"] if state == "armed" else own
    if state == "armed" and now == mine:
        own = now
        me.update(state="iterating", iteration=folder_turn.load(now))
        send(event="iterating", turn=now, iteration=me["iteration"] + 1, waitedMs=1000 * (time.time() - looked))
    elif state in ("armed", *BUSY) and now > mine:
        stop_passing("handed_over")
        send(event="fenced", turn=now, iteration=me["iteration"])
    looked = time.time()
    if me["state"] not in BUSY:
        time.sleep(0.001)
        continue
    run_iteration()
    me["iteration"] += 1
    folder_turn.renew(own, me["iteration"])
    if time.time() - told > 1:
        told = time.time()
        send(event="progress", iteration=me["iteration"], tokens=me["iteration"])
    if me["state"] == "handing_over" and me["iteration"] >= at_iteration:
        folder_turn.make(me["turn"], me["iteration"])
        stop_passing("handed_over")
