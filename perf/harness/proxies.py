"""The upstream and the three proxies, configured to do the same.

Every proxy has, at tls.test and at mtls.test (which demands a client certificate), with session tickets on or off:
  /       answered by the proxy itself with 200 "ok"
  /plain  forwarded to the upstream without TLS
  /tls    forwarded over TLS with the proxy's client certificate, the upstream's certificate verified
  /mib    the same, 1 MiB of content
One worker; TLS 1.3, X25519, AES-128-GCM, one P-256 certificate; no access log; upstream connections kept.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .pki import Pki

MIB = 1024 * 1024


@dataclass(frozen=True)
class Endpoint:
    port: int
    sni: str


class Nginx:
    """A process of the nginx package; the upstream and the peer differ in their configuration alone."""

    def __init__(self, name: str, folder: Path, core: int, http: str, port: int):
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "nginx.conf"
        config.write_text(
            "daemon off;\nmaster_process on;\nworker_processes 1;\nworker_rlimit_nofile 65536;\nuser root;\n"
            f"pid {self.folder}/pid;\nerror_log {self.folder}/error.log warn;\n"
            "events { worker_connections 16384; }\n"
            "http {\n  access_log off;\n  server_tokens off;\n  sendfile on;\n  tcp_nodelay on;\n"
            "  keepalive_timeout 300s;\n  keepalive_requests 100000000;\n"
            "  ssl_protocols TLSv1.3;\n  ssl_ecdh_curve X25519;\n"
            "  ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;\n" + http + "}\n"
        )
        log = self.folder / "output.log"
        command = ["nginx", "-p", str(self.folder), "-c", str(config), "-e", str(self.folder / "error.log")]
        self.child = processes.start(core, command, log)
        processes.wait_for_port(port, self.child, log)

    def pids(self) -> list[int]:
        return processes.family(self.child.pid)

    def stop(self):
        processes.stop(self.child)


class Upstream:
    """Answers /plain, /tls and /mib; on its TLS port only for a client certificate of the client CA."""

    def __init__(self, folder: Path, pki: Pki, core: int):
        self.plain_port, self.tls_port = processes.free_ports(2)
        files = folder / "files"
        files.mkdir()
        (files / "mib").write_bytes(b"x" * MIB)
        answers = (
            f"    root {files};\n    default_type application/octet-stream;\n"
            '    location /plain { return 200 "ok"; }\n    location /tls { return 200 "ok"; }\n'
        )
        http = (
            f"  server {{\n    listen 127.0.0.1:{self.plain_port} backlog=4096;\n{answers}  }}\n"
            f"  server {{\n    listen 127.0.0.1:{self.tls_port} ssl backlog=4096;\n"
            f"    ssl_certificate {pki.path('upstream.crt')};\n    ssl_certificate_key {pki.path('upstream.key')};\n"
            f"    ssl_client_certificate {pki.path('clients.crt')};\n    ssl_verify_client on;\n{answers}  }}\n"
        )
        self.process = Nginx("upstream", folder, core, http, self.tls_port)


class NginxProxy:
    name = "nginx"

    def __init__(self, folder: Path, pki: Pki, core: int, upstream: Upstream, tag: str = ""):
        ports = processes.free_ports(4)
        self.ports = dict(zip([(False, False), (False, True), (True, False), (True, True)], ports))
        http = (
            f"  ssl_certificate {pki.path('server.crt')};\n  ssl_certificate_key {pki.path('server.key')};\n"
            "  ssl_session_cache off;\n"
            f"  upstream plain {{ server 127.0.0.1:{upstream.plain_port}; keepalive 512; "
            "keepalive_requests 100000000; }\n"
            f"  upstream tls {{ server 127.0.0.1:{upstream.tls_port}; keepalive 512; keepalive_requests 100000000; }}\n"
            '  proxy_http_version 1.1;\n  proxy_set_header Connection "";\n  proxy_set_header Host $host;\n'
            "  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
            "  proxy_set_header X-Forwarded-Proto $scheme;\n  proxy_set_header X-Real-IP $remote_addr;\n"
            "  proxy_set_header X-Client-Cert-Dn $ssl_client_s_dn;\n"
            "  proxy_buffers 8 32k;\n  proxy_max_temp_file_size 0;\n"
            f"  proxy_ssl_certificate {pki.path('gateway.crt')};\n  proxy_ssl_certificate_key {pki.path('gateway.key')};\n"
            f"  proxy_ssl_verify on;\n  proxy_ssl_trusted_certificate {pki.path('servers.crt')};\n"
            "  proxy_ssl_name upstream.test;\n  proxy_ssl_server_name on;\n  proxy_ssl_protocols TLSv1.3;\n"
        )
        for (mtls, tickets), port in self.ports.items():
            client = f"    ssl_client_certificate {pki.path('clients.crt')};\n    ssl_verify_client on;\n" if mtls else ""
            http += (
                f"  server {{\n    listen 127.0.0.1:{port} ssl backlog=4096;\n"
                f"    ssl_session_tickets {'on' if tickets else 'off'};\n{client}"
                '    location = / { return 200 "ok"; }\n'
                "    location = /plain { proxy_pass http://plain; }\n"
                "    location = /tls { proxy_pass https://tls; }\n"
                "    location = /mib { proxy_pass https://tls; }\n  }\n"
            )
        self.process = Nginx(f"nginx{tag}", folder, core, http, ports[0])

    def endpoint(self, mtls: bool, tickets: bool) -> Endpoint:
        return Endpoint(self.ports[mtls, tickets], "mtls.test" if mtls else "tls.test")

    def pids(self, tickets: bool) -> list[int]:
        return self.process.pids()

    def stop(self):
        self.process.stop()


class HaproxyProxy:
    name = "haproxy"

    def __init__(self, folder: Path, pki: Pki, core: int, upstream: Upstream, tag: str = ""):
        home = folder / f"haproxy{tag}"
        home.mkdir()
        ports = processes.free_ports(4)
        self.ports = dict(zip([(False, False), (False, True), (True, False), (True, True)], ports))
        config = (
            "global\n  nbthread 1\n  maxconn 8192\n  tune.ssl.cachesize 0\n"
            "  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256\n  ssl-default-bind-curves X25519\n"
            "  ssl-default-bind-options ssl-min-ver TLSv1.3\n  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256\n"
            "defaults\n  mode http\n  option http-keep-alive\n  option forwardfor\n"
            # A connection without a request is closed, as the others do, and not answered with 400.
            "  option http-ignore-probes\n"
            "  http-reuse always\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n"
            "  timeout http-keep-alive 300s\n  timeout http-request 30s\n"
        )
        for (mtls, tickets), port in self.ports.items():
            options = f"ssl crt {pki.path('server.pem')} alpn http/1.1 backlog 4096"
            if mtls:
                options += f" verify required ca-file {pki.path('clients.crt')}"
            if not tickets:
                options += " no-tls-tickets"
            config += (
                f"frontend f{port}\n  bind 127.0.0.1:{port} {options}\n"
                '  http-request return status 200 content-type text/plain string "ok" if { path / }\n'
                "  http-request set-header X-Forwarded-Proto https\n  http-request set-header X-Real-IP %[src]\n"
            )
            if mtls:
                config += "  http-request set-header X-Client-Cert-Dn %{+Q}[ssl_c_s_dn]\n"
            config += "  use_backend plain if { path /plain }\n  default_backend tls\n"
        config += (
            f"backend plain\n  server u 127.0.0.1:{upstream.plain_port} pool-max-conn -1\n"
            f"backend tls\n  server u 127.0.0.1:{upstream.tls_port} pool-max-conn -1 ssl crt {pki.path('gateway.pem')} "
            f"verify required ca-file {pki.path('servers.crt')} verifyhost upstream.test sni str(upstream.test)\n"
        )
        (home / "haproxy.cfg").write_text(config)
        log = home / "output.log"
        self.child = processes.start(core, ["haproxy", "-db", "-f", str(home / "haproxy.cfg")], log)
        processes.wait_for_port(ports[0], self.child, log)

    def endpoint(self, mtls: bool, tickets: bool) -> Endpoint:
        return Endpoint(self.ports[mtls, tickets], "mtls.test" if mtls else "tls.test")

    def pids(self, tickets: bool) -> list[int]:
        return processes.family(self.child.pid)

    def stop(self):
        processes.stop(self.child)


class SallyportProxy:
    """Two processes, since tickets are switched for a whole gateway; certificates are asked for by SNI."""

    name = "sallyport"
    binary = Path("sallyport")
    profile = Path("tuning/bench.conf")

    def __init__(self, folder: Path, pki: Pki, core: int, upstream: Upstream, tag: str = ""):
        self.ports, self.children = {}, {}
        declarative = folder / "sallyport.json"
        declarative.write_text(json.dumps(_declarative(pki, upstream), indent=1))
        for tickets in (False, True):
            home = folder / f"{self.name}{tag}-{'tickets' if tickets else 'no-tickets'}"
            home.mkdir()
            (port,) = processes.free_ports(1)
            settings = home / "sallyport.conf"
            settings.write_text(
                self.profile.read_text() + f"prefix = {home}\ndeclarative_config = {declarative}\n"
                f"proxy_listen = 127.0.0.1:{port} ssl reuseport backlog=4096\n"
                f"ssl_cert = {pki.path('server.crt')}\nssl_cert_key = {pki.path('server.key')}\n"
                f"ssl_session_tickets = {'on' if tickets else 'off'}\n"
            )
            log = home / "output.log"
            child = processes.start(core, [str(self.binary), "start", "-c", str(settings)], log)
            processes.wait_for_port(port, child, log)
            self.ports[tickets], self.children[tickets] = port, child

    def endpoint(self, mtls: bool, tickets: bool) -> Endpoint:
        return Endpoint(self.ports[tickets], "mtls.test" if mtls else "tls.test")

    def pids(self, tickets: bool) -> list[int]:
        return processes.family(self.children[tickets].pid)

    def stop(self):
        for child in self.children.values():
            processes.stop(child)


def _declarative(pki: Pki, upstream: Upstream) -> dict:
    answer = {"name": "request-termination", "config": {"status_code": 200, "content_type": "text/plain", "body": "ok"}}
    client = {
        "name": "mtls-auth",
        "config": {
            "ca_certificates": [pki.ids["clients"]],
            "skip_consumer_lookup": True,
            "revocation_check_mode": "SKIP",
        },
    }

    def routes(kind: str, paths: list[str], plugins: list[dict]) -> list[dict]:
        common = {"protocols": ["https"], "paths": paths, "strip_path": False}
        return [
            {"name": f"{kind}-open", "hosts": ["tls.test"], "snis": ["tls.test"], "plugins": plugins, **common},
            {"name": f"{kind}-mtls", "hosts": ["mtls.test"], "snis": ["mtls.test"], "plugins": [client, *plugins], **common},
        ]

    # wrk is told an address and so sends no server name.
    wrk = {"name": "wrk", "protocols": ["https"], "hosts": ["wrk.test"], "paths": ["/plain"], "strip_path": False}
    return {
        "_format_version": "3.0",
        "ca_certificates": [
            {"id": pki.ids["clients"], "cert": pki.text("clients.crt")},
            {"id": pki.ids["servers"], "cert": pki.text("servers.crt")},
        ],
        "certificates": [
            {"id": pki.ids["gateway"], "cert": pki.text("gateway.crt"), "key": pki.text("gateway.key")}
        ],
        "services": [
            {
                "name": "plain",
                "url": f"http://127.0.0.1:{upstream.plain_port}",
                "routes": [*routes("plain", ["/plain"], []), wrk],
            },
            {
                "name": "tls",
                "url": f"https://127.0.0.1:{upstream.tls_port}",
                "client_certificate": pki.ids["gateway"],
                "ca_certificates": [pki.ids["servers"]],
                "tls_verify": True,
                "routes": routes("tls", ["/tls", "/mib"], []),
            },
        ],
        "routes": routes("answer", ["~/$"], [answer]),
    }


PROXIES = {proxy.name: proxy for proxy in (NginxProxy, HaproxyProxy, SallyportProxy)}


def other_build(name: str, binary: Path) -> type[SallyportProxy]:
    """The gateway from another binary, as a proxy of its own."""
    return type("OtherBuild", (SallyportProxy,), {"name": name, "binary": binary})
