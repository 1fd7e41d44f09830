"""The turn in a folder (docs/worker-protocol.md): for a worker without a block pool. libs/kv-pool has a word for it."""
import json, os

ROLE, DIR = os.environ["FULCRUM_WORKER_ROLE"], os.environ["FULCRUM_RESIDENT"]
os.makedirs(DIR, exist_ok=True)

def now():
    return max([int(f.split(".")[1]) for f in os.listdir(DIR) if f.startswith(ROLE + ".")], default=0)

def load(turn):
    """The iteration that the holder of the turn ran last."""
    if turn == 0: return 0
    with open(f"{DIR}/{ROLE}.{turn}") as file: return json.load(file)["iteration"]

def renew(turn, iteration): _publish(turn, iteration, os.replace)

def make(turn, iteration):
    """In one step; where somebody was first, the next look at the turn tells."""
    try: _publish(turn, iteration, os.link)
    except FileExistsError: pass

def _publish(turn, iteration, how):
    own = f"{DIR}/tmp.{os.getpid()}"
    with open(own, "w") as file: json.dump({"iteration": iteration}, file)
    try: how(own, f"{DIR}/{ROLE}.{turn}")
    finally:
        if os.path.exists(own): os.unlink(own)  # the same file after a link: it must not be written to again
