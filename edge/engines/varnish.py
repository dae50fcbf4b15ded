"""A Varnish in front of an edge, as VCL, and the words that start it."""

from __future__ import annotations

from edge.engines.plan import EnginePlan
from edge.engines.rendering import render
from kit.errors import SettingsError
from kit.units import MIB

NUMBER_MAX = 10**15 - 1
"""What a number of more digits than Varnish can read is read as."""
POOL_COUNT = 2
TRANSIENT_BYTES = 256 * MIB
"""Where Varnish keeps what lives for seconds; without a limit that is all memory there is."""
WORKSPACE_BYTES = 96 * 1024
"""Of each request: three sets of headers, for it is looked up up to three times."""


def varnish_words(plan: EnginePlan) -> list[str]:
    """Return what starts Varnish, but ``-f FILE``: each element is an option and its value."""
    chosen, listen = plan.settings, plan.settings.listen
    parameters = {
        "http_gzip_support": "off",
        "timeout_idle": f"{listen.close_idle_after:g}",
        # Together they mean: who took nothing for so long is dropped.
        "send_timeout": f"{listen.drop_stalled_after:g}",
        "idle_send_timeout": f"{listen.drop_stalled_after:g}",
        "thread_pools": f"{POOL_COUNT}",
        # Varnish has a thread for each request that is under way.
        "thread_pool_max": f"{max(100, listen.requests_max // POOL_COUNT)}",
        "workspace_client": f"{WORKSPACE_BYTES}",
    }
    return [
        "varnishd -F",
        f"-a {_endpoint(plan)}",
        f"-n {plan.cache_dir}/varnish",
        f"-s content=file,{plan.cache_dir}/content,{int(chosen.max_bytes)}",
        f"-s Transient=malloc,{TRANSIENT_BYTES}",
        *(f"-p {name}={value}" for name, value in parameters.items()),
    ]


def render_varnish(plan: EnginePlan) -> str:
    """Return a configuration, whose head says how to start Varnish with it.

    Raises:
        SettingsError: It is to speak TLS.
    """
    if plan.settings.certificate is not None:
        raise SettingsError(
            "engine.certificate: Varnish speaks no TLS; put hitch or nginx in front of it, and"
            " leave this setting empty"
        )
    return render(
        "varnish.vcl.j2",
        plan,
        words=varnish_words(plan),
        listen=_endpoint(plan),
        number_max=NUMBER_MAX,
    )


def _endpoint(plan: EnginePlan) -> str:
    listen = plan.settings.listen
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{listen.port}"
