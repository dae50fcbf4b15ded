"""A plain HTTP cache in front of any server: no leases, no titles, only what HTTP says."""
