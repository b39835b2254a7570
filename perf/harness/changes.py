"""A gateway with a large store, and an Admin API client quick enough to change it a thousand times a second."""

import base64
import json
import selectors
import socket
import ssl
import subprocess
import time
import uuid
from pathlib import Path

from . import processes

# One route for ten certificates, one service for ten routes: 10,000 routes at 100,000 certificates.
CERTIFICATES_PER_ROUTE = 10
ROUTES_PER_SERVICE = 10
NAMESPACE = uuid.UUID("5a11f9e5-0000-4000-8000-000000000004")
# What a minted leaf is a copy of; as long as `name_of` and `serial` make it.
NAME = "s00000000.perf.test"
SERIAL = bytes.fromhex("4100000000000000")
# The route that carries the proxied load.
LOAD_HOST = "load.perf.test"


def name_of(number: int) -> str:
    return f"s{number:08d}.perf.test"


def id_of(kind: str, number: int) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{kind} {number}"))


class Leaves:
    """Distinct leaf certificates for one key: a certificate of openssl's with serial and names replaced in its bytes.

    Their signature does not hold any more, which neither the gateway nor the client of the measurement looks at; names,
    serial and fingerprint are each one's own.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
            "-keyout", "leaf.key", "-out", "leaf.crt", "-days", "365", "-subj", f"/CN={NAME}",
            "-set_serial", f"0x{SERIAL.hex()}", "-addext", f"subjectAltName=DNS:{NAME}",
        ]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        self.key = (folder / "leaf.key").read_text()
        self._der = ssl.PEM_cert_to_DER_cert((folder / "leaf.crt").read_text())
        if self._der.count(NAME.encode()) < 2 or self._der.count(SERIAL) != 1:
            raise RuntimeError("the leaf certificate is not of the form that is filled in")

    def der(self, number: int, version: int) -> bytes:
        serial = SERIAL[:1] + (version << 32 | number).to_bytes(7, "big")
        return self._der.replace(NAME.encode(), name_of(number).encode()).replace(SERIAL, serial)

    def pem(self, number: int, version: int) -> str:
        text = base64.b64encode(self.der(number, version)).decode()
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def write_declarative(path: Path, leaves: Leaves, count: int, upstream_port: int):
    """`count` certificates with an SNI each, a tenth of it routes, a hundredth services; and the route of the load."""

    def rows():
        for number in range(count):
            sni = {"id": id_of("sni", number), "name": name_of(number)}
            yield "certificates", {
                "id": id_of("certificate", number), "cert": leaves.pem(number, 0), "key": leaves.key, "snis": [sni],
            }
        routes = max(1, count // CERTIFICATES_PER_ROUTE)
        for first in range(0, routes, ROUTES_PER_SERVICE):
            yield "services", {
                "id": id_of("service", first), "name": f"service-{first}", "host": "127.0.0.1", "port": upstream_port,
                "protocol": "http",
                "routes": [route(number) for number in range(first, min(first + ROUTES_PER_SERVICE, routes))],
            }
        yield "services", {
            "id": id_of("service", -1), "name": "load", "host": "127.0.0.1", "port": upstream_port, "protocol": "http",
            "routes": [{"id": id_of("route", -1), "name": "load", "hosts": [LOAD_HOST], "paths": ["/plain"], "strip_path": False}],
        }

    last = None
    with open(path, "w") as out:
        out.write('{"_format_version":"3.0"')
        for kind, row in rows():
            out.write(",\n" if kind == last else ("" if last is None else "]") + f',"{kind}":[\n')
            last = kind
            json.dump(row, out, separators=(",", ":"))
        out.write("]}\n")


def route(number: int, version: int = 0) -> dict:
    return {
        "id": id_of("route", number), "name": f"route-{number}", "hosts": [name_of(number)],
        "paths": [f"/v{version}"], "protocols": ["http", "https"],
    }


class Gateway:
    """Started on a store in `home`; stopped by SIGTERM, which closes it, or SIGKILL, which does not."""

    def __init__(self, binary: Path, home: Path, core: int, control_core: int, prefix: list[str]):
        self.binary, self.home, self.prefix = binary, home, prefix
        home.mkdir(exist_ok=True)
        self.proxy, self.admin, self.status = processes.free_ports(3)
        self.settings = home / "sallyport.conf"
        self.settings.write_text(
            f"prefix = {home}\ndatabase = embedded\nproxy_listen = 127.0.0.1:{self.proxy} ssl reuseport backlog=4096\n"
            f"admin_listen = 127.0.0.1:{self.admin}\nstatus_listen = 127.0.0.1:{self.status}\n"
            f"cores = {core}\ncontrol_core = {control_core}\nproxy_access_log = off\nproxy_error_log = /dev/stderr\n"
            "admin_access_log = off\nadmin_error_log = logs/admin.log\nstatus_error_log = logs/status.log\n"
            "ssl_groups = X25519\nnginx_http_keepalive_requests = 100000000\nupstream_keepalive_max_requests = 0\n"
        )
        (home / "logs").mkdir(exist_ok=True)
        self.child = None

    def import_rows(self, path: Path) -> float:
        """Seconds `config db_import` takes."""
        begin = time.monotonic()
        command = [*self.prefix, str(self.binary), "config", "db_import", str(path), "-c", str(self.settings)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"db_import: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return time.monotonic() - begin

    def start(self) -> float:
        """Seconds from the start of the process until `/status/ready` is 200."""
        log = self.home / "output.log"
        command = [*self.prefix, str(self.binary), "start", "-c", str(self.settings)]
        begin = time.monotonic()
        self.child = processes.start_free(command, log)
        while time.monotonic() - begin < 120:
            if self.child.poll() is not None:
                raise RuntimeError(f"the gateway has ended: {log.read_text()[-2000:]}")
            if self._is_ready():
                return time.monotonic() - begin
            time.sleep(0.005)
        raise RuntimeError("the gateway was not ready within 120 s")

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.status), 1) as stream:
                stream.sendall(b"GET /status/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return stream.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def stop(self):
        processes.stop(self.child)

    def kill(self):
        self.child.kill()
        self.child.wait()
        processes.stop(self.child)
        # The kernel takes rings apart after the process has ended, and their listening sockets with them.
        for _ in range(200):
            try:
                with socket.socket() as free:
                    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    return free.bind(("127.0.0.1", self.proxy))
            except OSError:
                time.sleep(0.01)

    def threads_cpu(self) -> dict[str, float]:
        """CPU µs so far, by the thread's name."""
        found: dict[str, float] = {}
        for task in Path(f"/proc/{self.child.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                found[name] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1000
            except OSError:
                continue
        return found


def put(kind: str, id: str, row: dict) -> bytes:
    body = json.dumps(row, separators=(",", ":")).encode()
    head = (
        f"PUT /{kind}/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def put_certificate(leaves: Leaves, number: int, version: int) -> bytes:
    # A PUT without `snis` takes them away.
    row = {"cert": leaves.pem(number, version), "key": leaves.key, "snis": [name_of(number)]}
    return put("certificates", id_of("certificate", number), row)


def put_route(number: int, version: int) -> bytes:
    row = route(number, version)
    row["service"] = {"id": id_of("service", number - number % ROUTES_PER_SERVICE)}
    return put("routes", row.pop("id"), row)


class Exchange:
    """One kept connection to the Admin API."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""

    def send(self, request: bytes):
        self.got = b""
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Reads once; the status when the response is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the Admin API has closed the connection")
        self.got += data
        head, end, body = self.got.partition(b"\r\n\r\n")
        if not end:
            return None
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length" and len(body) >= int(value):
                return int(head.split(b" ", 2)[1])
        return None

    def ask(self, request: bytes) -> int:
        self.send(request)
        while (status := self.receive()) is None:
            pass
        return status


class Handshakes:
    """Full handshakes whose leaf is looked at."""

    def __init__(self, port: int):
        self.port = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def leaf(self, name: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port)) as stream:
            with self.context.wrap_socket(stream, server_hostname=name) as tls:
                return tls.getpeercert(binary_form=True)


def live(gateway: Gateway, leaves: Leaves, count: int, times: int, version: int) -> dict[str, list[float]]:
    """Replaces certificates one by one. Milliseconds from sending the PUT to the 2xx, and to the end of the first handshake
    afterwards, which must show the new leaf; and what such a handshake takes by itself."""
    exchange, handshakes = Exchange(gateway.admin), Handshakes(gateway.proxy)
    found: dict[str, list[float]] = {"answered": [], "shown": [], "handshake": []}
    for turn in range(times):
        number = (turn * 7919 + version) % count
        request = put_certificate(leaves, number, version)
        begin = time.perf_counter()
        status = exchange.ask(request)
        answered = time.perf_counter()
        leaf = handshakes.leaf(name_of(number))
        shown = time.perf_counter()
        if status != 200 or leaf != leaves.der(number, version):
            raise RuntimeError(f"PUT /certificates: {status}, {exchange.got[-300:]}; the new leaf is shown: {leaf == leaves.der(number, version)}")
        again = time.perf_counter()
        handshakes.leaf(name_of(number))
        found["answered"].append((answered - begin) * 1000)
        found["shown"].append((shown - begin) * 1000)
        found["handshake"].append((time.perf_counter() - again) * 1000)
    exchange.socket.close()
    return found


def change(port: int, requests: list[bytes], rate: float, connections: int) -> dict:
    """Sends the requests at `rate` over so many connections, none waiting for another; a latency begins when it was due."""
    selector = selectors.DefaultSelector()
    free = []
    for _ in range(connections):
        exchange = Exchange(port)
        selector.register(exchange.socket, selectors.EVENT_READ, exchange)
        free.append(exchange)
    began: dict[Exchange, float] = {}
    took, failed, sent = [], 0, 0
    begin = time.perf_counter()
    while sent < len(requests) or began:
        now = time.perf_counter() - begin
        while free and sent < len(requests) and sent / rate <= now:
            exchange = free.pop()
            began[exchange] = sent / rate
            exchange.send(requests[sent])
            sent += 1
        due = sent / rate - (time.perf_counter() - begin)
        wait = 1.0 if sent == len(requests) or not free else max(0.0, due)
        for key, _ in selector.select(wait):
            exchange = key.data
            status = exchange.receive()
            if status is not None:
                took.append((time.perf_counter() - begin - began.pop(exchange)) * 1000)
                failed += status != 200
                free.append(exchange)
    seconds = time.perf_counter() - begin
    for exchange in free:
        exchange.socket.close()
    took.sort()
    return {
        "changes": len(took), "failed": failed, "per_s": round(len(took) / seconds, 1),
        "p50_ms": round(took[len(took) // 2], 2), "p99_ms": round(took[len(took) * 99 // 100], 2),
    }
