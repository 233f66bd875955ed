"""TLS towards OpenNebula."""

from __future__ import annotations

import ssl

from provision_engine.errors import OperatorError


def client_context(verify: bool | str) -> ssl.SSLContext:
    """``verify``: a file of certificate authorities, True for those of the system, or False.

    Raises OperatorError where the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise OperatorError(f"tls.ca_file {verify} cannot be used: {error}") from error
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
