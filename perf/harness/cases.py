"""What is measured, and one measurement of it."""

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .pki import Pki
from .proxies import MIB

# Idle connections of the memory cases, and the wait before memory is read: longer than any proxy's own clean-up.
IDLE_CONNECTIONS = 2000
IDLE_SETTLE_S = 6
PACED_SHARE = 0.30


@dataclass(frozen=True)
class Case:
    name: str
    what: str
    mode: str  # loadgen's, or "wrk"
    mtls: bool = False
    tickets: bool = False
    first_sight: bool = False
    request: str | None = None  # path; None closes after the handshake
    expect_size: int = 2
    connections: int = 64
    paced: bool = True
    # Greatest ratio to nginx the issue asks for, saturated.
    at_most: float | None = None


CASES = [
    Case("full", "full handshake, then close", "full", at_most=0.30),
    Case(
        "full-mtls", "full handshake with a known client certificate, one request answered by the proxy", "full",
        mtls=True, request="/", at_most=0.20,
    ),
    Case(
        "full-mtls-first", "the same, every client certificate seen for the first time", "full",
        mtls=True, request="/", first_sight=True,
    ),
    Case("full-mtls-bare", "full handshake with a known client certificate, then close", "full", mtls=True),
    Case("full-request", "full handshake, one request answered by the proxy", "full", request="/", paced=False),
    Case("resumed", "resumed handshake, one request answered by the proxy", "resumed", tickets=True, request="/"),
    Case(
        "resumed-mtls", "resumed handshake with client certificate, one request answered by the proxy", "resumed",
        mtls=True, tickets=True, request="/",
    ),
    Case("keepalive", "request on a kept connection, TLS to a plain upstream", "keepalive", request="/plain"),
    Case(
        "keepalive-mtls", "request on a kept connection, mTLS on both sides", "keepalive",
        mtls=True, request="/tls", at_most=0.40,
    ),
    Case(
        "mib-mtls", "1 MiB response on a kept connection, mTLS on both sides", "keepalive",
        mtls=True, request="/mib", expect_size=MIB, connections=16,
    ),
    Case("wrk-keepalive", "request on a kept connection, TLS to a plain upstream, by wrk", "wrk", request="/plain", paced=False),
]
MEMORY_CASES = [
    Case("idle", "resident KiB per idle connection that has had one request", "idle", request="/"),
    Case("idle-mtls", "the same, with client certificate", "idle", mtls=True, request="/"),
]


class Failed(Exception):
    """A measurement that gave no figure; the run goes on and says so."""


class Bench:
    """Runs single measurements and keeps every command and every result."""

    def __init__(self, loadgen: Path, pki: Pki, arguments, out: Path, hide: dict[str, str]):
        self.loadgen, self.pki, self.arguments, self.hide = loadgen, pki, arguments, hide
        self.raw = open(out / "raw.jsonl", "w")
        self.commands = open(out / "commands.txt", "a")
        self.rates: dict[str, float] = {}

    def measure(self, case: Case, proxy, round_number: int, rate: float = 0.0) -> dict:
        """One row. A measurement that could not be made has `failed` with the reason and no figures."""
        load = "paced" if rate else "saturated"
        try:
            endpoint = proxy.endpoint(case.mtls, case.tickets)
            pids = proxy.pids(case.tickets)
            if case.mode == "wrk":
                result = self._wrk(case, endpoint, pids)
            else:
                result = self._loadgen(case, endpoint, pids, proxy.name, rate)
            if not rate:
                self.rates[proxy.name] = result["ops_per_s"]
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            result = {"failed": self._hidden(str(error))}
        return self._keep(case, proxy.name, load, round_number, result)

    def _loadgen(self, case: Case, endpoint, pids, proxy_name: str, rate: float) -> dict:
        command = self._command(case, endpoint, proxy_name, rate)
        command += ["--warmup", "0.4", "--seconds", str(self.arguments.seconds)]
        command += ["--watch-core", str(self.arguments.proxy_core)]
        done = self._run(command, [f"--watch-pid={pid}" for pid in pids])
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        result = json.loads(done.stdout)
        if result["ops"] == 0:
            raise Failed(f"no operation succeeded: {result['errors_by_kind']}")
        result["cpu_us_per_op"] = result.pop("watched_cpu_us_per_op")
        result["cpu_us"] = result.pop("watched_cpu_us")
        return result

    def _command(self, case: Case, endpoint, proxy_name: str, rate: float) -> list[str]:
        command = [str(self.loadgen), "--connect", f"127.0.0.1:{endpoint.port}", "--sni", endpoint.sni]
        command += ["--mode", case.mode, "--connections", str(case.connections)]
        if case.request is not None:
            command += ["--path", case.request, "--expect-size", str(case.expect_size)]
            if case.mode != "keepalive":
                command += ["--with-request"]
        if rate:
            command += ["--rate", f"{rate:.1f}"]
        path = lambda name: str(self.pki.path(name))
        if case.first_sight:
            # Enough for the run at twice the rate seen last, so that none comes twice.
            seconds = self.arguments.seconds + 0.4
            count = int(max(3000, 2 * seconds * (rate or self.rates.get(proxy_name, 0))))
            command += ["--mint", str(count), "--mint-ca", path("clients.crt"), "--mint-ca-key", path("clients.key")]
            command += ["--key", path("client.key")]
        elif case.mtls:
            command += ["--cert", path("client.crt"), "--key", path("client.key")]
        return command

    def _wrk(self, case: Case, endpoint, pids) -> dict:
        """wrk's own count, over the proxy's CPU from before its start to after its end: 64 handshakes are in it."""
        seconds = max(2, round(self.arguments.seconds))
        command = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "-H", "Host: wrk.test"]
        command.append(f"https://127.0.0.1:{endpoint.port}{case.request}")
        before, begin = processes.cpu_us(pids), time.monotonic()
        done = self._run(command, [])
        cpu, took = processes.cpu_us(pids) - before, time.monotonic() - begin
        found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", done.stdout)
        if done.returncode != 0 or not found or int(found[1]) == 0:
            raise Failed(f"wrk: {done.stdout}{done.stderr}")
        ops = int(found[1])
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
        errors = int(bad[1]) if bad else 0
        if sockets := re.search(r"Socket errors: (.*)", done.stdout):
            errors += sum(int(n) for n in re.findall(r"\d+", sockets[1]))
        return {
            "mode": "wrk", "ops": ops, "errors": errors, "seconds": round(took, 4),
            "ops_per_s": round(ops / took, 1), "cpu_us": cpu, "cpu_us_per_op": round(cpu / ops, 3),
        }

    def memory(self, case: Case, proxy, round_number: int) -> dict:
        """On a proxy that was just started: resident memory before and with IDLE_CONNECTIONS held."""
        try:
            result = self._memory(case, proxy)
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            result = {"failed": self._hidden(str(error))}
        return self._keep(case, proxy.name, "idle", round_number, result)

    def _memory(self, case: Case, proxy) -> dict:
        endpoint, pids = proxy.endpoint(case.mtls, case.tickets), proxy.pids(case.tickets)
        base = self._command(case, endpoint, proxy.name, 0.0)
        one = self._run([*base, "--seconds", "0", "--connections", "1"], [])
        if one.returncode != 0:
            raise Failed(one.stderr.strip())
        before = processes.rss_kib(pids)
        command = [*base, "--connections", str(IDLE_CONNECTIONS), "--seconds", str(IDLE_SETTLE_S + 2)]
        self._note(command)
        child = subprocess.Popen(self._pinned(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said = child.stderr.readline()
            if not said.startswith("holding"):
                raise Failed(said + child.stderr.read())
            time.sleep(IDLE_SETTLE_S)
            after = processes.rss_kib(pids)
            out, _ = child.communicate(timeout=60)
        finally:
            child.kill()
            child.wait()
        result = json.loads(out)
        result.update(rss_before_kib=before, rss_after_kib=after)
        result["kib_per_connection"] = round((after - before) / IDLE_CONNECTIONS, 3)
        return result

    def _pinned(self, command: list[str]) -> list[str]:
        return ["taskset", "-c", str(self.arguments.load_core), *command]

    def _run(self, command: list[str], unnoted: list[str]) -> subprocess.CompletedProcess:
        self._note(command)
        return subprocess.run(self._pinned([*command, *unnoted]), capture_output=True, text=True, timeout=300)

    def _note(self, command: list[str]):
        self.commands.write(self._hidden(" ".join(command)) + "\n")
        self.commands.flush()

    def _hidden(self, text: str) -> str:
        for path, name in self.hide.items():
            text = text.replace(path, name)
        return text

    def _keep(self, case: Case, proxy: str, load: str, round_number: int, result: dict) -> dict:
        row = {"case": case.name, "load": load, "proxy": proxy, "round": round_number, **result}
        self.raw.write(json.dumps(row) + "\n")
        self.raw.flush()
        return row
