#!/usr/bin/env python3
"""A tickq worker in Python's standard library. TICKQ_URL=http://localhost:8000 python3 examples/worker.py"""
import json, os, signal, socket, threading, traceback, urllib.error, urllib.request

URL = os.environ.get("TICKQ_URL", "http://localhost:8000").rstrip("/")
WORKER = os.environ.get("TICKQ_WORKER") or f"{socket.gethostname()}:{os.getpid()}"
LEASE_MS = 30_000
stopping = threading.Event()
may_interrupt = False


def count_words(payload, told_to_stop):
    """A task. What it returns is the job's result; what it raises is a failed attempt."""
    return {"words": len(payload["text"].split())}


TASKS = {"count_words": count_words}


def call(path, **body):
    key = os.environ.get("TICKQ_KEY")
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def keep(lease, ended, told_to_stop):
    """Extends the lease three times as often as it would end."""
    while not ended.wait(LEASE_MS / 3000):
        try:
            said = call("/api/leases/heartbeat", worker=WORKER, leases=[lease], lease_ms=LEASE_MS)
            if said["leases"][0]["status"] != "held":  # A cancel was asked for, or the lease was lost.
                told_to_stop.set()
        except (OSError, ValueError) as error:
            print("heartbeat:", error, flush=True)


def run(job):
    lease = {"id": job["id"], "lease_token": job["lease_token"]}
    ended, told_to_stop = threading.Event(), threading.Event()
    threading.Thread(target=keep, args=(lease, ended, told_to_stop), daemon=True).start()
    try:
        ending = {"outcome": "done", "result": interruptible(TASKS[job["task"]], job["payload"], told_to_stop)}
    except Stop:
        ending = {"outcome": "release"}
    except Exception as error:
        error = {"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}
        ending = {"outcome": "cancelled"} if told_to_stop.is_set() else {"outcome": "retry", "error": error}
    for pause in (1, 2, 4, 8, 16, 30):  # Until there is an answer; the lease is kept meanwhile.
        try:
            call("/api/leases/settle", results=[{**lease, **ending}])
            break
        except OSError as error:
            status = getattr(error, "code", 503)
            print("settle:", error, error.read().decode() if status < 500 else "", flush=True)
            if status < 500 or stopping.wait(pause):  # 409: the lease was lost, the job is somebody else's.
                break
    ended.set()


class Stop(BaseException):
    """This process was told to end."""


def interruptible(work, *args, **kwargs):
    """Does what SIGTERM may interrupt: a task, which is given back then, and the wait for jobs."""
    global may_interrupt
    try:
        may_interrupt = True
        if stopping.is_set():
            raise Stop
        return work(*args, **kwargs)
    finally:
        may_interrupt = False


def on_signal(*_):
    stopping.set()
    if may_interrupt:
        raise Stop


signal.signal(signal.SIGTERM, on_signal)
signal.signal(signal.SIGINT, on_signal)
pause = 1
while not stopping.is_set():
    try:
        for job in interruptible(call, "/api/leases", worker=WORKER, tasks=[*TASKS], lease_ms=LEASE_MS, wait_ms=20_000)["jobs"]:
            run(job)
        pause = 1
    except Stop:
        break
    except (OSError, ValueError) as error:
        print("lease:", error, flush=True)
        stopping.wait(pause)
        pause = min(30, 2 * pause)
