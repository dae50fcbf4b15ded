"""Templates of configurations, and what every engine is told alike."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from chunks.slices import SLICE_SIZE
from edge.engines import gate, url_space
from edge.engines.plan import EnginePlan
from manifests.addresses import HEAD_REVALIDATE_S, STALE_IF_ERROR_S
from manifests.documents import DOCUMENT_SIZE_MAX
from manifests.lease import HEADER

CONTENT_KEPT_S = 3650 * 24 * 3600
"""Content is named by its digest: it is right for as long as it is there."""
MISSING_KEPT_S = 2
"""As an edge does (``edge/fill.py``): what is published a moment later is found a moment later."""

HEAD_WITHIN_S = 10
"""A head of a request is 400 bytes; whoever takes longer for it, or less where less is set, holds a
connection open for no good."""

_VALUES = {
    "url": url_space,
    "gate": gate,
    "lease_header": HEADER,
    "slice_size": SLICE_SIZE,
    "content_kept_s": CONTENT_KEPT_S,
    "missing_kept_s": MISSING_KEPT_S,
    "head_revalidate_s": HEAD_REVALIDATE_S,
    "stale_if_error_s": STALE_IF_ERROR_S,
    "document_size_max": DOCUMENT_SIZE_MAX,
}


def render(template: str, plan: EnginePlan, **values: object) -> str:
    """Fill in a template of ours with ``plan`` and more ``values``."""
    environment = Environment(
        loader=PackageLoader("edge.engines"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configurations are no HTML; a plan has only words
    )
    environment.filters["variable"] = _as_variable
    environment.filters["seconds"] = lambda duration: f"{duration:.3f}s"
    found = environment.get_template(template)
    return found.render(
        plan=plan,
        chosen=plan.settings,
        head_within_s=head_within_s(plan),
        **_VALUES,
        **values,
    )


def head_within_s(plan: EnginePlan) -> float:
    """Return how many seconds a player has for the head of a request."""
    return min(HEAD_WITHIN_S, plan.settings.listen.close_idle_after)


def _as_variable(header: str) -> str:
    """Return what nginx calls a header in its variables."""
    return header.lower().replace("-", "_")


def absolute(path: Path, below: Path) -> Path:
    """Return where ``path`` is, if it is ``below`` unless absolute."""
    return (below / path).absolute()
