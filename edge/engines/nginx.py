"""An nginx in front of an edge, as one whole configuration file."""

from __future__ import annotations

from edge.engines.nginx_build import ASSUMED, NginxBuild, check_build
from edge.engines.plan import EnginePlan
from edge.engines.rendering import render
from kit.units import GIB, KIB

KEYS_PER_MIB = 8000
"""Source: the documentation of ``proxy_cache_path``: one megabyte stores about 8,000 keys."""
OBJECT_SIZE = 512 * KIB
"""Most are slices of 1 MiB; pages and the ends of bundles are smaller."""
KEYS_MIB_MIN = 16
FREE_BYTES_MAX = 1 * GIB


def render_nginx(plan: EnginePlan, build: NginxBuild | None) -> str:
    """Return a configuration for ``build``, or for one that nobody could ask if that is None.

    Raises:
        SettingsError: ``build`` cannot be an edge; the message says what it lacks.
    """
    chosen = plan.settings
    check_build(build or ASSUMED, with_tls=chosen.certificate is not None)
    listen = chosen.listen
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return render(
        "nginx.conf.j2",
        plan,
        build=build or ASSUMED,
        is_known=build is not None,
        listen=f"{host}:{listen.port}",
        keys_mib=max(KEYS_MIB_MIN, _keys_mib(chosen.max_bytes)),
        # A disk that is nearly full costs old content, and not the machine.
        free_bytes=min(FREE_BYTES_MAX, chosen.max_bytes // 16),
    )


def _keys_mib(max_bytes: int) -> int:
    """Return the MiB of memory that the keys of so many bytes take."""
    return -(-max_bytes // OBJECT_SIZE // KEYS_PER_MIB)
