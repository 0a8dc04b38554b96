#!/usr/bin/env python3
"""A tickq worker in Python's standard library. TICKQ_URL=http://localhost:8000 python3 examples/worker.py"""
import json, os, signal, socket, threading, time, traceback, urllib.error, urllib.request

URL = os.environ.get("TICKQ_URL", "http://localhost:8000").rstrip("/")
WORKER = os.environ.get("TICKQ_WORKER") or f"{socket.gethostname()}:{os.getpid()}"
LEASE_MS = 30_000
BODY_MAX = 4_000_000
TOO_LARGE = {"outcome": "failed", "error": "the result is too large: store it elsewhere and return where it is"}
stopping = threading.Event()


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


def attempt(job, told_to_stop):
    try:
        result = TASKS[job["task"]](job["payload"], told_to_stop)
        return {"outcome": "done", "result": result} if len(json.dumps(result, allow_nan=False)) < BODY_MAX else TOO_LARGE
    except BaseException as error:
        error = {"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}
        return {"outcome": "cancelled"} if told_to_stop.is_set() else {"outcome": "retry", "error": error}


def run(job):
    lease, told_to_stop, ended = {"id": job["id"], "lease_token": job["lease_token"]}, threading.Event(), []
    task = threading.Thread(target=lambda: ended.append(attempt(job, told_to_stop)), daemon=True)
    task.start()
    beat_at = time.monotonic() + LEASE_MS / 3000
    ends_at = time.monotonic() + job["timeout_ms"] / 1000
    while task.is_alive() and not stopping.is_set() and time.monotonic() < ends_at:
        task.join(0.1)
        if time.monotonic() > beat_at:  # Extends the lease three times as often as it would end.
            beat_at += LEASE_MS / 3000
            try:
                said = call("/api/leases/heartbeat", worker=WORKER, leases=[lease], lease_ms=LEASE_MS)
                if said["leases"][0]["status"] != "held":  # A cancel was asked for, or the lease was lost.
                    told_to_stop.set()
            except (OSError, ValueError) as error:
                print("heartbeat:", error, flush=True)
    late = {"outcome": "retry", "error": f"timed out after {job['timeout_ms']} ms"}
    ending = ended[0] if ended else {"outcome": "release"} if stopping.is_set() else late
    told_to_stop.set()  # Nothing ends a thread from outside: it goes on until its task looks at this.
    for pause in (1, 2, 4, 8, 16):  # Until there is an answer.
        try:
            return call("/api/leases/settle", results=[{**lease, **ending}])
        except (OSError, ValueError) as error:
            status = getattr(error, "code", 0)
            print("settle:", error, error.read().decode() if status else "", flush=True)
            if status == 413 and ending["outcome"] == "done":
                ending = TOO_LARGE
            elif 400 <= status < 500 or stopping.wait(pause):  # 409: the lease was lost, the job is somebody else's.
                return


signal.signal(signal.SIGTERM, lambda *_: stopping.set())
signal.signal(signal.SIGINT, lambda *_: stopping.set())
pause, wait_ms = 1, 0
while not stopping.is_set():
    try:
        jobs = call("/api/leases", worker=WORKER, tasks=[*TASKS], lease_ms=LEASE_MS, wait_ms=wait_ms)["jobs"]
        if wait_ms == 0:
            print(f"serving {', '.join(TASKS)} at {URL}", flush=True)
        pause, wait_ms = 1, 2000
        for job in jobs:
            run(job)
    except (OSError, ValueError) as error:
        print("lease:", error, flush=True)
        stopping.wait(pause)
        pause = min(30, 2 * pause)
