"""Nothing waits for a network that is not there."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

_SECONDS = 3.0


def settle_offline() -> bool:
    """Sets ``HF_HUB_OFFLINE=1`` if the hub cannot be reached; call before its libraries are imported.

    Their own time-outs and retries take minutes. A setting of the user's is left alone, and so is a
    machine that reaches the hub through a proxy.

    Returns:
        Whether the libraries will stay offline.
    """
    if "HF_HUB_OFFLINE" in os.environ:
        return os.environ["HF_HUB_OFFLINE"].lower() in ("1", "true", "yes", "on")
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return False
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), _SECONDS).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return True
    return False
