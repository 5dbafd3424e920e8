"""What aioquic does not offer of QUIC and TLS, and this protocol needs. It is the only file that looks into aioquic."""

from aioquic.quic.connection import QuicConnection
from aioquic.tls import Direction, Epoch, hkdf_expand_label
from cryptography.hazmat.primitives import hashes

LONGEST_HEADER = 1 + 17 + 4 + 16 + 9  # section 9: packet header and tag, and the frame


class Connection(QuicConnection):
    """A connection that gives keying material (RFC 8446 section 7.5), and that asks for the other end's certificate."""

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = not self._configuration.is_client
        install = self.tls.update_traffic_key_cb

        def update_traffic_key(direction: Direction, epoch: Epoch, suite, key: bytes) -> None:
            # This is when the transcript ends with the server's Finished, which the exporter's secret is derived of.
            if direction is Direction.DECRYPT and epoch is Epoch.ONE_RTT:
                self._exporter_secret = self.tls.key_schedule.derive_secret(b"exp master")
            install(direction, epoch, suite, key)

        self.tls.update_traffic_key_cb = update_traffic_key

    def export(self, label: bytes, context: bytes, length: int) -> bytes:
        """TLS-Exporter of a client's end."""
        algorithm = self.tls.key_schedule.algorithm
        nothing = digest(algorithm, b"")
        secret = hkdf_expand_label(algorithm, self._exporter_secret, label, nothing, algorithm.digest_size)
        return hkdf_expand_label(algorithm, secret, b"exporter", digest(algorithm, context), length)

    def certified_key(self) -> bytes | None:
        """The Ed25519 key by which the other end has shown who it is."""
        certificate = self.tls._peer_certificate
        return certificate.public_key().public_bytes_raw() if certificate else None


def digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    state = hashes.Hash(algorithm)
    state.update(data)
    return state.finalize()
