"""Where an edge fetches what it does not have: other workers of its node, shields, origins.

``siblings`` says which worker asks, ``upstreams`` whom, ``race`` who is asked beside, and
``upstream`` what is known of each.
"""
