"""The settings reference, written from the settings themselves (``docs/settings.md``)."""

from __future__ import annotations

from kit.settings import Setting, reference
from playhead.settings import Settings

HEAD = """\
# Settings

Defaults, then a TOML file (`--config`), then the environment, then `--set key=value`: the last that
names a setting wins. The key `edge.max_bytes` is `[edge]` / `max_bytes = "64GiB"` in TOML and
`PLAYHEAD_EDGE__MAX_BYTES` in the environment. Sizes are binary (`64GiB`, `256KiB`), durations have
a unit (`250ms`, `30s`, `12h`), lists have commas outside TOML.

This page is printed by `playhead settings`; a test compares the two.

| key | default | |
| --- | --- | --- |
"""


def settings_page() -> str:
    """Return ``docs/settings.md``."""
    return HEAD + "".join(map(_row, reference(Settings)))


def _row(setting: Setting) -> str:
    default = "needed" if setting.default is None else f"`{setting.default}`"
    text = setting.description.replace("``", "`").replace("|", "\\|")
    return f"| `{setting.key}` | {default if default != '``' else ''} | {text} |\n"
