"""A worker of Fulcrum's worker protocol (docs/worker-protocol.md) with nothing but the standard library.
In place of run_iteration, attach and smCount put your engine. The turn lies in the folder FULCRUM_RESIDENT."""
import json, os, signal, socket, sys, threading, time

ENV, ROLE, DIR = os.environ, os.environ["FULCRUM_WORKER_ROLE"], os.environ["FULCRUM_RESIDENT"]
me = {"state": "new", "turn": None, "iteration": 0, "smCount": None}
passing, lock, out = {}, threading.RLock(), [None]  # passing: the hand-over under way; out: the connection

def run_iteration(): time.sleep(0.01)

def turn_now():
    return max([int(f.split(".")[1]) for f in os.listdir(DIR) if f.startswith(ROLE + ".")], default=0)
def leave_state(turn, publish):  # os.link makes a turn in one step, or fails where there is one; os.replace renews it
    own = f"{DIR}/tmp.{os.getpid()}"
    with open(own, "w") as f: json.dump({"iteration": me["iteration"]}, f)
    try: publish(own, f"{DIR}/{ROLE}.{turn}")
    except FileExistsError: pass
    if os.path.exists(own): os.unlink(own)  # after a link it is the same file: writing there again would change the turn's
def load_state(turn):
    try:
        with open(f"{DIR}/{ROLE}.{turn}") as f: me["iteration"] = json.load(f)["iteration"]
    except FileNotFoundError: pass  # the role has not had a turn yet
def send(value):
    try: out[0].sendall((json.dumps(value) + "\n").encode())
    except (OSError, AttributeError): pass  # not connected: the next hello says it all
def done(id, **more): send({"id": id, "ok": True, **me, **more})
def refuse(id, code, message, **more): send({"id": id, "ok": False, "code": code, "message": message, **more})

def take(id=None, op=None, turn=None, at=None, **more):
    state, now, is_turn = me["state"], turn_now(), isinstance(turn, int) and turn >= 1
    if op == "status": done(id, leases=0)
    elif op == "attach":
        me["smCount"] = me["smCount"] or int(ENV.get("EXAMPLE_SM_COUNT", 0)) or None
        if state == "new": me["state"] = "ready"
        done(id)
        if state == "new": send({"event": "ready", "smCount": me["smCount"], "tookMs": 0})
    elif op == "leave": done(id); os._exit(0)
    elif op == "drain" and state not in ("iterating", "handing_over"): me["state"] = "draining"; done(id, leases=0)
    elif op not in ("iterate", "hand_over", "drain") or (op != "drain" and not is_turn): refuse(id, "bad_request", str(op))
    elif op == "iterate" and state == "iterating" and turn == me["turn"]: done(id)
    elif op == "iterate" and state in ("ready", "armed", "handed_over"):
        if turn < now or (turn == now and turn != me["turn"]): return refuse(id, "stale_turn", f"it is {now}", turn=now)
        me.update(state="armed", turn=turn); done(id)
        if more.get("take") and now < turn: load_state(now); leave_state(turn, os.link)
    elif op == "hand_over" and state == "handed_over" and turn <= now: done(id)
    elif op == "hand_over" and state == "handing_over" and turn == me["turn"]: passing["ids"].append(id)
    elif op != "hand_over" or state != "iterating": refuse(id, "bad_state", state)
    elif turn <= now: refuse(id, "stale_turn", f"it is {now}", turn=now)
    elif at is not None and at <= me["iteration"]: refuse(id, "too_late", f"iteration {me['iteration']} has run")
    else: passing.update(ids=[id], at=at); me.update(state="handing_over", turn=turn)

def work():
    own, told, came = 0, 0, time.time()
    while True:
        with lock:
            state, now = me["state"], turn_now()
            if state == "armed" and now == me["turn"]:
                load_state(now); own = now; me["state"] = "iterating"
                send({"event": "iterating", "turn": now, "iteration": me["iteration"] + 1, "waitedMs": 1000 * (time.time() - came)})
            elif (state == "armed" and now > me["turn"]) or (state in ("iterating", "handing_over") and now > own):
                me["state"] = "handed_over"; send({"event": "fenced", "turn": now, "iteration": me["iteration"]})
                for id in passing.pop("ids", []): done(id)
        came = time.time()
        if me["state"] not in ("iterating", "handing_over"): time.sleep(0.001); continue
        run_iteration()
        with lock:
            me["iteration"] += 1; leave_state(own, os.replace)
            if time.time() - told > 1: told = time.time(); send({"event": "progress", "iteration": me["iteration"], "tokens": me["iteration"]})
            if me["state"] == "handing_over" and (passing["at"] is None or me["iteration"] >= passing["at"]):
                leave_state(me["turn"], os.link); me["state"] = "handed_over"
                for id in passing.pop("ids"): done(id)

def serve():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(ENV["FULCRUM_WORKER_SOCKET"]); out[0] = s
        with lock: send({"type": "hello", "protocol": 1, "worker": ENV["FULCRUM_WORKER_ID"], "pid": os.getpid(), "role": ROLE,
              "rank": int(ENV["FULCRUM_WORKER_RANK"]), "generation": int(ENV["FULCRUM_GENERATION"]), "smPct": float(ENV["FULCRUM_SM_PCT"]), **me})
        for line in s.makefile("rb"):
            try: request = json.loads(line) if len(line) <= 65536 else None
            except ValueError: request = None
            with lock: take(**request) if isinstance(request, dict) else refuse(None, "bad_request", "no JSON object of at most 64 KiB")

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # an engine synchronises its device first
os.makedirs(DIR, exist_ok=True); threading.Thread(target=work, daemon=True).start()
lost = time.time()
while True:
    try: serve(); lost = time.time()
    except OSError: pass
    if me["state"] not in ("iterating", "handing_over") and time.time() - lost > 60: sys.exit(0)
    time.sleep(0.2 if time.time() - lost < 1 else 1)
