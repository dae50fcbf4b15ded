"""Configurations for nginx and Varnish on this machine, from the settings of all parts involved."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from edge.engines.nginx import render_nginx
from edge.engines.nginx_build import NginxBuild, parse_build
from edge.engines.plan import EnginePlan, plan_engine
from edge.engines.rendering import absolute
from edge.engines.varnish import render_varnish
from kit.errors import SettingsError
from playhead.settings import Settings

NGINX, VARNISH = "nginx", "varnish"
ENGINES = (NGINX, VARNISH)

ASK_WITHIN_S = 10.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here


def gate_socket(settings: Settings) -> Path:
    """Return where engines of this machine ask about leases."""
    return absolute(settings.gate.socket, settings.data)


def engine_plan(settings: Settings) -> EnginePlan:
    """Return what configurations are written from.

    Raises:
        SettingsError: Something cannot stand in one.
    """
    chosen = settings.engine
    return plan_engine(
        chosen,
        chosen.upstreams or (_own_edge(settings),),
        gate_socket(settings),
        absolute(chosen.cache_dir, settings.data),
    )


def render_engine(settings: Settings, engine: str, nginx: Path | None) -> str:
    """Return the configuration of ``engine``; of ``nginx``, if that is given, it asks what it can.

    Raises:
        SettingsError: Something cannot stand in it, or ``nginx`` cannot be an edge.
    """
    plan = engine_plan(settings)
    if engine == VARNISH:
        return render_varnish(plan)
    return render_nginx(plan, None if nginx is None else nginx_build(nginx))


def nginx_build(nginx: Path) -> NginxBuild:
    """Ask an nginx what it can do. Blocks.

    Raises:
        SettingsError: It does not run, or is none.
    """
    try:
        said = subprocess.run(  # noqa: S603 - the operator names it
            [os.fspath(nginx), "-V"],
            capture_output=True,
            text=True,
            check=False,
            timeout=ASK_WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(f"--nginx {nginx}: it does not say what it can do: {error}") from error
    return parse_build(said.stderr)


def _own_edge(settings: Settings) -> str:
    listen = settings.edge.listen
    host = EVERYWHERE.get(listen.host, listen.host)
    if listen.port == 0:
        raise SettingsError(
            "engine.upstreams: edge.listen.port is 0, so nobody knows where the edge is; set either"
        )
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"
