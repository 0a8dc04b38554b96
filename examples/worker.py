#!/usr/bin/env python3
"""A tickq worker in Python's standard library. TICKQ_URL=http://localhost:8000 python3 examples/worker.py"""
import json, os, signal, socket, threading, time, traceback, urllib.error, urllib.request

URL = os.environ.get("TICKQ_URL", "http://localhost:8000").rstrip("/")
WORKER = os.environ.get("TICKQ_WORKER") or f"{socket.gethostname()}:{os.getpid()}"
LEASE_MS = 30_000
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
        return {"outcome": "done", "result": TASKS[job["task"]](job["payload"], told_to_stop)}
    except Exception as error:
        error = {"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}
        return {"outcome": "cancelled"} if told_to_stop.is_set() else {"outcome": "retry", "error": error}


def run(job):
    lease, told_to_stop, ended = {"id": job["id"], "lease_token": job["lease_token"]}, threading.Event(), []
    task = threading.Thread(target=lambda: ended.append(attempt(job, told_to_stop)), daemon=True)
    task.start()
    beat_at = time.monotonic() + LEASE_MS / 3000
    while task.is_alive() and not stopping.is_set():
        task.join(0.1)
        if time.monotonic() > beat_at:  # Extends the lease three times as often as it would end.
            beat_at += LEASE_MS / 3000
            try:
                said = call("/api/leases/heartbeat", worker=WORKER, leases=[lease], lease_ms=LEASE_MS)
                if said["leases"][0]["status"] != "held":  # A cancel was asked for, or the lease was lost.
                    told_to_stop.set()
            except (OSError, ValueError) as error:
                print("heartbeat:", error, flush=True)
    ending = ended[0] if ended else {"outcome": "release"}  # This process was told to end: the job is given back.
    for pause in (1, 2, 4, 8, 16):  # Until there is an answer.
        try:
            return call("/api/leases/settle", results=[{**lease, **ending}])
        except (OSError, ValueError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            print("settle:", error, error.read().decode() if refused else "", flush=True)
            if refused or stopping.wait(pause):  # 409: the lease was lost, the job is somebody else's.
                return


signal.signal(signal.SIGTERM, lambda *_: stopping.set())
signal.signal(signal.SIGINT, lambda *_: stopping.set())
pause = 1
while not stopping.is_set():
    try:
        for job in call("/api/leases", worker=WORKER, tasks=[*TASKS], lease_ms=LEASE_MS, wait_ms=2000)["jobs"]:
            run(job)
        pause = 1
    except (OSError, ValueError) as error:
        print("lease:", error, flush=True)
        stopping.wait(pause)
        pause = min(30, 2 * pause)
