"""Which devices each worker process uses."""

from harness.workers.leases import Lease, lease, lease_for, slots, visible_devices

__all__ = ["Lease", "lease", "lease_for", "slots", "visible_devices"]
