"""nginx and Varnish in front of an edge: configurations for them, and who checks leases for them.

An engine keeps and sends what an edge of ours has verified; it asks the gate of its machine whether
a lease holds, and remembers the answer for seconds. ``docs/operating/engines.md`` has the picture.
"""
