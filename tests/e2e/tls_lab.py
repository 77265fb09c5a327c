"""Certificates for tests: an authority, and what it signs, made by openssl(1)."""

import subprocess


class Authority:
    """`ca.pem` below `place`, and certificates it signs."""

    def __init__(self, place, name="lab"):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        self.ca = place / "ca.pem"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name} authority", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    def sign(self, name, usage, alternative="DNS:none.invalid"):
        """A directory with ca.pem, cert.pem and key.pem for `name`; `usage` is serverAuth or clientAuth."""
        place = self.place / name
        place.mkdir()
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/O=barque/CN={name}",
            "-keyout", f"{name}/key.pem", "-out", f"{name}/request.pem",
        )  # fmt: skip
        (place / "ext").write_text(f"extendedKeyUsage={usage}\nsubjectAltName={alternative}\n")
        self._openssl(
            "x509", "-req", "-in", f"{name}/request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{name}/ext", "-out", f"{name}/cert.pem",
        )  # fmt: skip
        (place / "ca.pem").write_bytes(self.ca.read_bytes())
        return place

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.place, check=True, capture_output=True)
