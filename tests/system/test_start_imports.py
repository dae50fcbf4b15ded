"""What a console's commands load: little, for a player waits for it before the first request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

NOT_FOR_CONSOLES = {
    "aiohttp.web": "serves",
    "boto3": "reaches the publisher's storage",
    "boto3.session": "the same",
    "botocore.session": "the same",
    "s3transfer": "the same",
    "cryptography.x509": "makes certificates",
    "hdiffpatch": "applies deltas, which a start has none of",
    "kit.http_server": "serves",
    "kit.object_storage.s3": "reaches the publisher's storage",
    "packager.push": "publishes",
    "packager.patches": "publishes",
    "origin.routes": "serves",
    "edge.routes": "serves",
    "sqlite3": "no console has a database",
}


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a new process has after ``statement``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def unwanted(loaded: Iterable[str]) -> set[str]:
    return set(NOT_FOR_CONSOLES) & set(loaded)


def test_a_players_command_loads_nothing_that_serves_or_publishes() -> None:
    loaded = loaded_by(
        "import click; from playhead.__main__ import main; "
        "assert main.get_command(click.Context(main), 'install') is not None"
    )
    assert "console.platform_api" in loaded
    assert unwanted(loaded) == set()


def test_the_library_that_verifies_brings_no_cloud_along() -> None:
    loaded = loaded_by("import console.platform_api, console.trust_client")
    assert "tuf.ngclient.updater" in loaded
    assert unwanted(loaded) == set()


def test_what_signs_with_keys_in_a_cloud_works_where_that_was_loaded_late() -> None:
    loaded = loaded_by(
        "import console.trust_client, securesystemslib.signer as signer;"
        "from securesystemslib.signer import _aws_signer;"
        "assert _aws_signer.AWS_IMPORT_ERROR is None;"
        "_aws_signer.boto3.client"
    )
    assert "boto3.session" in loaded
