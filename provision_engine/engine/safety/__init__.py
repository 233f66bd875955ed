"""Why nothing is lost and no one is harmed: ownership, locks, leases, keys, endings."""
