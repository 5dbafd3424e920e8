"""The certificate of an end of an inner connection: section 15. Only its key counts."""

from datetime import datetime, timedelta, timezone

from cryptography import x509

from .identity import Identity


def certificate(identity: Identity) -> x509.Certificate:
    """Self-signed, with the key that is the peer id."""
    nobody = x509.Name([])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(
        issuer_name=nobody,
        subject_name=nobody,
        public_key=identity.key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    )
    return builder.sign(identity.key, algorithm=None)
