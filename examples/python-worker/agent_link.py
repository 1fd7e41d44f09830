"""The connection to the agent (docs/worker-protocol.md): says hello, connects again, and keeps what comes in an inbox."""
import json, os, queue, socket, threading, time

MAX_LINE_BYTES = 65536
inbox = queue.Queue()  # lines as they came; taken by the worker between two iterations
_conn = socket.socket()
_HELLO = {"type": "hello", "protocol": 1, "pid": os.getpid()} | {
    field: os.environ[f"FULCRUM_{name}"] for field, name in (("worker", "WORKER_ID"), ("role", "WORKER_ROLE"))} | {
    field: json.loads(os.environ[f"FULCRUM_{name}"])
    for field, name in (("rank", "WORKER_RANK"), ("generation", "GENERATION"), ("smPct", "SM_PCT"))}

def send(**line):
    try: _conn.sendall(json.dumps(line).encode() + b"\n")
    except OSError: pass  # not connected: the next hello says it all

def start(standing, iterates, leave):
    """`standing` goes into every hello; who does not iterate leaves after 60 s without a connection."""
    threading.Thread(target=_listen, args=(standing, iterates, leave), daemon=True).start()

def _listen(standing, iterates, leave):
    global _conn
    lost = time.time()
    while iterates() or time.time() - lost < 60:
        try:
            _conn = socket.socket(socket.AF_UNIX)
            _conn.connect(os.environ["FULCRUM_WORKER_SOCKET"])
            send(**_HELLO, **standing)
            for line in _conn.makefile("rb"): inbox.put(line if len(line) <= MAX_LINE_BYTES else b"too long")
            lost = time.time()
        except OSError: pass
        _conn.close()
        time.sleep(1)
    leave()
