"""Operators of an edge, put together: who is one, and where it is written down what they do."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

import edge.operating.routes
from edge.node import Node
from kit.audit_log import AuditLog
from kit.errors import Unauthenticated
from kit.http_body import is_same_secret
from kit.service import Binder
from playhead.local_secrets import OPERATOR_FILE, local_secret
from playhead.publishing_service import audit_folder
from playhead.settings import Settings


def edge_audit_folder(settings: Settings, worker: int) -> Path:
    """Return where the audit log of one worker of this machine's edge is: each has its own."""
    return audit_folder(settings) / f"edge-{worker}"


def edge_audit_folders(settings: Settings) -> list[Path]:
    """Return where the audit logs of all workers are; reads the folder."""
    return sorted(audit_folder(settings).glob("edge-*"))


def bind(binder: Binder, settings: Settings, node: Node) -> None:
    """Let this machine's operator in to ``node``.

    Raises:
        SettingsError, Denied, OutOfSpace: Its secret cannot be read, or made.
    """
    audit = AuditLog(
        edge_audit_folder(settings, node.siblings.index),
        file_size_max=settings.publishing.audit_file_max_bytes,
        files_max=settings.publishing.audit_files_max,
        clock=node.clock,
    )
    edge.operating.routes.bind(
        binder,
        node,
        check_operator=OperatorSecret(local_secret(settings, OPERATOR_FILE)),
        note=audit.note,
        random=SystemRandom(),
    )


class OperatorSecret:
    """Takes whoever has the platform's secret for an operator."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, secret: str) -> None:
        """Do nothing if it is the secret.

        Raises:
            Unauthenticated: It is not.
        """
        if not is_same_secret(secret, self._secret):
            raise Unauthenticated("that is not this platform's operator secret")
