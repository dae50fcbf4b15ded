"""Somebody guesses the codes by which a publisher's machine logs in, or floods who hands them out.

Attackers come from an address of their own; what they use up there, others have still.
"""

from __future__ import annotations

import json
import secrets
from typing import Any
from urllib.parse import urlencode

import pytest

from manifests.names import TitleId
from playhead.keys.signers import public_fields
from playhead.settings import Settings
from tests.attacks import wire
from tests.attacks.stage import Stage
from tests.trust_repository import offline_signer

pytestmark = [pytest.mark.slow, pytest.mark.may_block]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GUESSES = 120
ACCOUNTS = Settings().accounts


def post(stage: Stage, path: str, form: dict[str, str], source: str) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(form).encode()
    reply = wire.get(stage.origin.url, path, headers, method="POST", body=body, source=source)
    return reply.status, json.loads(reply.body)


def begin(stage: Stage, source: str) -> tuple[int, dict[str, Any]]:
    key = json.dumps(public_fields(offline_signer().public_key))
    form = {"machine": "a machine", "publisher_key": key}
    return post(stage, "/oauth/device_authorization", form, source)


def poll(stage: Stage, device_code: str, source: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": DEVICE_GRANT, "device_code": device_code}
    return post(stage, "/oauth/token", form, source)


def approve(stage: Stage, code: str, title: TitleId) -> None:
    words = ("publishers", "approve", code, "--publisher", f"studio-{title}", "--title", title)
    done = stage.type(*words, "--channel", "live", "--url", stage.origin.url, "--json")
    assert done.exit_code == 0, done.errors


def test_guessed_device_codes_open_nothing_and_are_soon_not_looked_at(
    stage: Stage, title: TitleId
) -> None:
    status, login = begin(stage, "127.0.0.11")
    assert status == 200
    answers = [poll(stage, secrets.token_urlsafe(32), "127.0.0.12") for _ in range(GUESSES)]
    wrong = [said for status, said in answers if status == 400]
    assert {said["error"] for said in wrong} == {"invalid_grant"}
    assert len(wrong) <= ACCOUNTS.guesses_per_minute
    refused = [said for status, said in answers if status == 429]
    assert len(refused) == GUESSES - len(wrong)
    assert all("try again in" in said["error_description"] for said in refused)
    # Now even the right code is not looked at from there; who was given it is served.
    assert poll(stage, login["device_code"], "127.0.0.12")[0] == 429
    assert poll(stage, login["device_code"], "127.0.0.11")[1]["error"] == "authorization_pending"
    approve(stage, login["user_code"], title)
    status, granted = poll(stage, login["device_code"], "127.0.0.11")
    assert (status, granted["titles"]) == (200, [title])


def test_a_device_code_that_was_redeemed_is_worth_nothing(stage: Stage, title: TitleId) -> None:
    _, login = begin(stage, "127.0.0.13")
    approve(stage, login["user_code"], title)
    assert poll(stage, login["device_code"], "127.0.0.13")[0] == 200
    status, said = poll(stage, login["device_code"], "127.0.0.14")
    assert (status, said["error"]) == (400, "invalid_grant")


def test_guessed_user_codes_are_approved_by_nobody_but_an_operator(
    stage: Stage, title: TitleId
) -> None:
    """Even by who knows the right one: it is short, so it is worth nothing by itself."""
    _, login = begin(stage, "127.0.0.15")
    scope = {"publisher": "mallory", "titles": [title], "channels": ["live"], "verbs": ["push"]}
    wish = json.dumps({"user_code": login["user_code"], "scope": scope}).encode()
    statuses = []
    for _ in range(GUESSES):
        headers = {
            "Authorization": f"Bearer {secrets.token_urlsafe(32)}",
            "Content-Type": "application/json",
        }
        reply = wire.get(
            stage.origin.url,
            "/accounts/v1/logins/approve",
            headers,
            method="POST",
            body=wish,
            source="127.0.0.16",
        )
        statuses.append(reply.status)
        assert reply.problem()["detail"]
    assert statuses.count(401) <= ACCOUNTS.guesses_per_minute
    assert set(statuses) == {401, 429}
    assert poll(stage, login["device_code"], "127.0.0.15")[1]["error"] == "authorization_pending"
    approve(stage, login["user_code"], title)
    assert poll(stage, login["device_code"], "127.0.0.15")[0] == 200


def test_a_flood_of_logins_from_one_address_leaves_room_for_others(
    stage: Stage, title: TitleId
) -> None:
    statuses = [begin(stage, "127.0.0.17")[0] for _ in range(GUESSES)]
    assert statuses.count(200) == ACCOUNTS.logins_per_minute
    assert set(statuses) == {200, 429}
    status, login = begin(stage, "127.0.0.18")
    assert status == 200
    approve(stage, login["user_code"], title)
    assert poll(stage, login["device_code"], "127.0.0.18")[0] == 200
