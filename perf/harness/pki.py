"""Certificates of a run: P-256 everywhere, made by openssl, valid for the run's day and after."""

import subprocess
import uuid
from pathlib import Path


class Pki:
    """Paths of PEM files in one folder.

    server: the proxies' certificate for tls.test and mtls.test. clients: the CA of client certificates, client: the
    one certificate that is known. gateway: what the proxies show the upstream, signed by clients too. upstream: the
    upstream's certificate for upstream.test and 127.0.0.1, signed by servers.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self._authority("clients")
        self._authority("servers")
        self._leaf("server", "servers", "serverAuth", "DNS:tls.test,DNS:mtls.test")
        self._leaf("upstream", "servers", "serverAuth", "DNS:upstream.test,IP:127.0.0.1")
        self._leaf("client", "clients", "clientAuth", "DNS:client.test")
        self._leaf("gateway", "clients", "clientAuth", "DNS:gateway.test")
        for name in ("server", "gateway"):
            # HAProxy wants certificate and key in one file.
            self.path(f"{name}.pem").write_text(self.text(f"{name}.crt") + self.text(f"{name}.key"))
        self.ids = {name: str(uuid.uuid4()) for name in ("clients", "servers", "gateway")}

    def path(self, name: str) -> Path:
        return self.folder / name

    def text(self, name: str) -> str:
        return self.path(name).read_text()

    def _authority(self, name: str):
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
            "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "30", "-subj", f"/CN=perf {name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def _leaf(self, name: str, issuer: str, purpose: str, names: str):
        extensions = (
            f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            f"extendedKeyUsage={purpose}\nsubjectAltName={names}\n"
        )
        self.path(f"{name}.ext").write_text(extensions)
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN=perf {name}",
        )
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-sha256",
            "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.crt",
        )

    def _openssl(self, *arguments: str):
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {' '.join(arguments)}: {done.stderr}")
