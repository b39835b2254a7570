"""Children of a run: started on their core, found, measured, and never left behind."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_children: list[subprocess.Popen] = []


def clean_up_on_exit():
    """Every child dies with the run, also when the run is interrupted."""
    atexit.register(stop_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))


def start(core: int, command: list[str], log: Path) -> subprocess.Popen:
    return start_free(["taskset", "-c", str(core), *command], log)


def start_free(command: list[str], log: Path) -> subprocess.Popen:
    """On whichever cores the run itself may use."""
    with open(log, "ab") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )
    _children.append(child)
    return child


def stop(child: subprocess.Popen):
    """SIGTERM to the process we started, and after 5 s SIGKILL to its whole session."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child in _children:
        _children.remove(child)


def stop_all():
    for child in list(_children):
        stop(child)


def free_ports(count: int) -> list[int]:
    """Ports the kernel has just named free; all are held until the last is known, so they differ."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def wait_for_port(port: int, child: subprocess.Popen, log: Path, seconds: float = 15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"{child.args[3]} does not listen on port {port}:\n{tail}")


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(after_name[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, []))
    return found


def cpu_us(pids: list[int]) -> float:
    """User and system time of all threads that live, in µs."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1000


def rss_kib(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total
