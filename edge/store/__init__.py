"""Verified blobs in segment files, shared by all workers of an edge; memory is the page cache.

Begin at :mod:`edge.store.store`. What it does is in ``reading``, ``writing``, ``room``, ``index``,
``checking``; how it lies on the disk in ``segments``, ``segment_table`` and ``shelf``; what goes
first when it is full in ``eviction``.
"""
