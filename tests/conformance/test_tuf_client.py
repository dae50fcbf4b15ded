"""Our client does what The Update Framework's conformance asks of any, over its public interface.

The questions are those of the public suite; the repository that asks them is our own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner

from tests.conformance.mirror import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TOP,
    Mirror,
    in_days,
    serving,
)
from tests.conformance.tuf_interface import main

CLIENT = Path(__file__).parent / "tuf_client"
FIRST_VISIT = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]


@dataclass
class Client:
    """The client under test, in folders of its own."""

    folder: Path
    url: str
    days_ahead: float = 0.0

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def downloads(self) -> Path:
        return self.folder / "targets"

    def init(self, root: bytes) -> int:
        self.downloads.mkdir(exist_ok=True)
        (self.folder / "trusted.json").write_bytes(root)
        return self.run("--metadata-dir", self.metadata, "init", self.folder / "trusted.json")

    def refresh(self) -> int:
        return self.run(*self._metadata(), "refresh")

    def download(self, *names: str) -> int:
        wanted = [word for name in names for word in ("--target-name", name)]
        place = ["--target-base-url", f"{self.url}/targets", "--target-dir", self.downloads]
        return self.run(*self._metadata(), *wanted, *map(str, place), "download")

    def run(self, *words: str | Path) -> int:
        now_s = time.time() + self.days_ahead * 86_400
        return main([str(word) for word in words], lambda: now_s)

    def version(self, role: str) -> int | None:
        file = self.metadata / f"{role}.json"
        return json.loads(file.read_bytes())["signed"]["version"] if file.exists() else None

    def believed(self) -> list[tuple[str, int]]:
        """Return the roles whose metadata is kept, and in which versions."""
        found = sorted(self.metadata.glob("*.json"))
        return [(file.stem, json.loads(file.read_bytes())["signed"]["version"]) for file in found]

    def downloaded(self) -> list[bytes]:
        return sorted(file.read_bytes() for file in self.downloads.rglob("*") if file.is_file())

    def _metadata(self) -> list[str | Path]:
        return ["--metadata-dir", self.metadata, "--metadata-url", f"{self.url}/metadata"]


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
def client(mirror: Mirror, tmp_path: Path) -> Iterator[Client]:
    with serving(mirror) as url:
        made = Client(tmp_path, url)
        assert made.init(mirror.files["metadata/1.root.json"]) == 0
        yield made


def test_init_asks_nobody(mirror: Mirror, client: Client) -> None:
    assert mirror.asked == []
    assert client.believed() == [(ROOT, 1)]


def test_refresh_asks_in_the_order_of_the_specification(mirror: Mirror, client: Client) -> None:
    assert client.refresh() == 0
    assert mirror.metadata_asked() == FIRST_VISIT
    assert client.believed() == [(ROOT, 1), (SNAPSHOT, 1), (TARGETS, 1), (TIMESTAMP, 1)]


def test_refresh_with_nothing_new_asks_for_what_may_be_new(mirror: Mirror, client: Client) -> None:
    client.refresh()
    mirror.asked.clear()
    assert client.refresh() == 0
    assert mirror.metadata_asked() == ["2.root.json", "timestamp.json"]


def test_download_of_what_nobody_vouches_for_fails_after_a_refresh(
    mirror: Mirror, client: Client
) -> None:
    assert client.download("no such target") == 1
    assert mirror.metadata_asked() == FIRST_VISIT
    assert client.version(TARGETS) == 1


def test_kept_metadata_is_byte_for_byte_what_was_served(mirror: Mirror, client: Client) -> None:
    client.refresh()
    for role in TOP:
        name = f"{role}.json" if role == TIMESTAMP else f"1.{role}.json"
        assert (client.metadata / f"{role}.json").read_bytes() == mirror.files[f"metadata/{name}"]


@pytest.mark.parametrize("spoil", ["version", "signature", "not json"])
def test_a_bad_trusted_root_asks_nobody_and_fails(
    mirror: Mirror, client: Client, spoil: str
) -> None:
    root = json.loads(mirror.files["metadata/1.root.json"])
    if spoil == "version":
        del root["signed"]["version"]
    elif spoil == "signature":
        root["signatures"][0]["sig"] = "00" * 64
    client.init(b"[" if spoil == "not json" else json.dumps(root).encode())
    assert client.refresh() == 1
    assert mirror.asked == []


def test_unknown_fields_are_signed_as_all_others_are(mirror: Mirror, client: Client) -> None:
    mirror.root.unrecognized_fields["more"] = {"a": [1, None, "ü"]}
    mirror.root.roles[ROOT].unrecognized_fields["also"] = True
    mirror.publish_root()
    assert client.refresh() == 0
    assert client.version(ROOT) == 2


def test_other_content_under_the_same_timestamp_version_is_not_taken(
    mirror: Mirror, client: Client
) -> None:
    client.refresh()
    before = (client.metadata / "timestamp.json").read_bytes()
    mirror.timestamp.snapshot_meta.version = 100
    mirror.put(TIMESTAMP)
    assert client.refresh() == 0
    assert (client.metadata / "timestamp.json").read_bytes() == before


def test_older_timestamp_is_refused(mirror: Mirror, client: Client) -> None:
    mirror.publish_timestamp()
    client.refresh()
    mirror.timestamp.version -= 1
    mirror.put(TIMESTAMP)
    mirror.asked.clear()
    assert client.refresh() == 1
    assert client.version(TIMESTAMP) == 2
    assert mirror.metadata_asked()[-1] == "timestamp.json"


@pytest.mark.parametrize("with_hashes", [False, True])
def test_older_snapshot_under_a_newer_timestamp_is_refused(
    mirror: Mirror, client: Client, with_hashes: bool
) -> None:
    mirror.with_hashes = with_hashes
    mirror.publish_snapshot()
    client.refresh()
    mirror.snapshot.version = 1
    mirror.put(SNAPSHOT)
    mirror.publish_timestamp()
    assert client.refresh() == 1
    assert (client.version(TIMESTAMP), client.version(SNAPSHOT)) == (2, 2)


@pytest.mark.parametrize("with_hashes", [False, True])
def test_older_targets_under_a_newer_snapshot_are_refused(
    mirror: Mirror, client: Client, with_hashes: bool
) -> None:
    mirror.with_hashes = with_hashes
    mirror.publish(TARGETS)
    client.refresh()
    mirror.targets.version = 1
    mirror.put(TARGETS)
    mirror.publish_snapshot()
    assert client.refresh() == 1
    assert (client.version(SNAPSHOT), client.version(TARGETS)) == (2, 2)


def test_a_role_that_vanishes_from_the_snapshot_is_refused(mirror: Mirror, client: Client) -> None:
    mirror.delegate(TARGETS, "A")
    mirror.publish("A", TARGETS)
    assert client.refresh() == 0
    del mirror.snapshot.meta["A.json"]
    mirror.publish_snapshot()
    assert client.refresh() == 1


def test_snapshot_of_another_version_than_the_timestamp_says_is_refused(
    mirror: Mirror, client: Client
) -> None:
    client.refresh()
    mirror.snapshot.version = 7
    mirror.put(SNAPSHOT)
    mirror.timestamp.snapshot_meta.version = 2
    mirror.files["metadata/2.snapshot.json"] = mirror.files["metadata/7.snapshot.json"]
    mirror.publish_timestamp()
    assert client.refresh() == 1
    assert client.version(SNAPSHOT) == 1


def test_targets_that_do_not_match_the_snapshots_hash_are_refused(
    mirror: Mirror, client: Client
) -> None:
    client.refresh()
    mirror.with_hashes = True
    mirror.publish(TARGETS)
    document = json.loads(mirror.files["metadata/2.targets.json"])
    mirror.files["metadata/2.targets.json"] = json.dumps(document, indent=3).encode()
    assert client.refresh() == 1
    assert client.version(TARGETS) == 1


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
def test_new_keys_let_versions_that_ran_away_come_back(
    mirror: Mirror, client: Client, role: str
) -> None:
    signed = {TIMESTAMP: mirror.timestamp, SNAPSHOT: mirror.snapshot, TARGETS: mirror.targets}
    signed[role].version = 9_999
    mirror.publish(TARGETS)
    assert client.refresh() == 0
    for rotated in {TIMESTAMP: [TIMESTAMP], SNAPSHOT: [SNAPSHOT, TIMESTAMP], TARGETS: [SNAPSHOT]}[
        role
    ]:
        mirror.rotate(rotated)
    mirror.publish_root()
    signed[role].version = 1
    mirror.publish(TARGETS)
    assert client.refresh() == 0
    assert client.version(role) == 2


@dataclass
class Step:
    """A root: whose keys it has, how many must sign, who does; by number."""

    keys: Sequence[int]
    threshold: int
    signed_by: Sequence[int]


@dataclass
class Rotation:
    steps: Sequence[Step]
    is_good: bool = True
    name: str = field(default="", kw_only=True)


ROTATIONS = [
    Rotation([Step([1], 1, [1]), Step([2], 1, [1, 2]), Step([2], 1, [2])], name="one for one"),
    Rotation([Step([1], 1, [3, 1]), Step([2], 1, [1, 4, 2])], name="with idle signatures"),
    Rotation([Step([0, 1, 2], 2, [0, 1]), Step([0, 1, 2], 2, [2, 1])], name="other two of three"),
    Rotation(
        [Step([0, 1, 2], 2, [0, 1]), Step([3, 4, 5], 2, [0, 1, 3, 4]), Step([3, 4, 5], 2, [4, 5])],
        name="all at once",
    ),
    Rotation([Step([1, 2], 1, [1]), Step([1, 2], 2, [1, 2])], name="higher threshold"),
    Rotation(
        [Step([1, 2], 2, [1, 2]), Step([1, 2], 1, [1, 2]), Step([1, 2], 1, [2])], name="lower"
    ),
    Rotation([Step([1], 1, [1]), Step([2], 1, [2])], False, name="not signed by the old"),
    Rotation([Step([1], 1, [1]), Step([2], 1, [1])], False, name="not signed by the new"),
    Rotation(
        [Step([0, 1, 2], 2, [0, 1]), Step([0, 1, 3], 2, [0, 2])], False, name="one of two new"
    ),
    Rotation([Step([1, 2], 1, [1]), Step([1, 2], 2, [1])], False, name="below the new threshold"),
    Rotation(
        [Step([1, 2], 2, [1, 2]), Step([1, 2], 1, [1])], False, name="below the old threshold"
    ),
]


@pytest.mark.parametrize("rotation", ROTATIONS, ids=lambda rotation: rotation.name)
def test_roots_follow_each_other_by_old_and_new_keys(
    mirror: Mirror, client: Client, rotation: Rotation
) -> None:
    signers = [CryptoSigner.generate_ed25519() for _ in range(6)]
    mirror.root.version = 0
    roots = []
    for step in rotation.steps:
        mirror.root.roles[ROOT].keyids.clear()
        mirror.root.roles[ROOT].threshold = step.threshold
        for index in step.keys:
            mirror.root.add_key(signers[index].public_key, ROOT)
        mirror.signers[ROOT] = [signers[index] for index in step.signed_by]
        roots.append(mirror.publish_root())
    assert client.init(roots[0]) == 0
    assert client.refresh() == (0 if rotation.is_good else 1)
    assert (client.metadata / "root.json").read_bytes() == roots[-1 if rotation.is_good else -2]


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
@pytest.mark.parametrize(("signer_count", "code"), [(2, 0), (1, 1)])
def test_a_threshold_counts_for_every_role(
    mirror: Mirror, client: Client, role: str, signer_count: int, code: int
) -> None:
    mirror.add_key(role)
    mirror.root.roles[role].threshold = 2
    mirror.publish_root()
    mirror.signers[role] = mirror.signers[role][:signer_count]
    mirror.publish(TARGETS)
    assert client.refresh() == code


def test_one_key_under_many_names_signs_once(mirror: Mirror, client: Client) -> None:
    client.refresh()
    [signer] = mirror.signers[SNAPSHOT]
    document = signer.public_key.to_dict()
    for index in range(3):
        key = type(signer.public_key).from_dict(f"{index:064x}", json.loads(json.dumps(document)))
        mirror.root.add_key(key, SNAPSHOT)
    mirror.root.roles[SNAPSHOT].threshold = 2
    mirror.publish_root()
    mirror.publish(TARGETS)
    assert client.refresh() == 1
    assert client.version(SNAPSHOT) == 1


@pytest.mark.parametrize("size", [512_001, 5_000_000])
def test_root_beyond_its_limit_is_refused(mirror: Mirror, client: Client, size: int) -> None:
    client.refresh()
    mirror.root.unrecognized_fields["padding"] = "x" * size
    mirror.publish_root()
    assert client.refresh() == 1
    assert client.version(ROOT) == 1


def test_root_that_skips_a_version_is_refused(mirror: Mirror, client: Client) -> None:
    mirror.root.version = 2
    mirror.files["metadata/2.root.json"] = mirror.publish_root()
    assert client.refresh() == 1
    assert client.version(ROOT) == 1


def test_expired_root_is_kept_and_ends_the_refresh(mirror: Mirror, client: Client) -> None:
    client.refresh()
    mirror.root.expires = in_days(-1)
    mirror.publish_root()
    mirror.publish(TARGETS)
    assert client.refresh() == 1
    assert client.version(ROOT) == 2
    assert client.version(TIMESTAMP) == client.version(SNAPSHOT) == 1


def test_expired_root_on_the_way_to_a_fresh_one_is_followed(mirror: Mirror, client: Client) -> None:
    mirror.root.expires = in_days(-1)
    mirror.publish_root()
    mirror.root.expires = in_days(30)
    mirror.publish_root()
    assert client.refresh() == 0
    assert client.version(ROOT) == 3


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
def test_what_has_expired_is_not_taken(mirror: Mirror, client: Client, role: str) -> None:
    client.refresh()
    signed = {TIMESTAMP: mirror.timestamp, SNAPSHOT: mirror.snapshot, TARGETS: mirror.targets}
    signed[role].expires = in_days(-5)
    mirror.publish(TARGETS)
    assert client.refresh() == 1
    assert client.version(role) == 1


def test_expired_memory_still_leads_to_what_is_fresh(mirror: Mirror, client: Client) -> None:
    mirror.timestamp.expires = in_days(7)
    mirror.publish_timestamp()
    client.refresh()
    mirror.timestamp.expires = in_days(21)
    mirror.publish(TARGETS)
    client.days_ahead = 18
    assert client.refresh() == 0
    assert [client.version(role) for role in (TIMESTAMP, SNAPSHOT, TARGETS)] == [3, 2, 2]


def test_expired_memory_still_tells_an_older_state(mirror: Mirror, client: Client) -> None:
    mirror.timestamp.expires = in_days(7)
    mirror.publish_timestamp()
    client.refresh()
    mirror.timestamp.expires = in_days(21)
    mirror.timestamp.version = 1
    mirror.put(TIMESTAMP)
    client.days_ahead = 18
    assert client.refresh() == 1
    assert client.version(TIMESTAMP) == 2


def test_delegated_role_that_has_expired_vouches_for_nothing(
    mirror: Mirror, client: Client
) -> None:
    mirror.delegate(TARGETS, "A", ["a/*"], expires=in_days(-1))
    mirror.add_target("A", "a/file", b"content")
    mirror.publish("A", TARGETS)
    assert client.refresh() == 0
    assert client.download("a/file") == 1
    assert client.downloaded() == []
    assert client.version("A") is None


def test_delegated_role_that_expires_later_is_fetched_anew(mirror: Mirror, client: Client) -> None:
    mirror.delegate(TARGETS, "A", ["a/*"], expires=in_days(7))
    mirror.add_target("A", "a/first", b"first")
    mirror.add_target("A", "a/second", b"second")
    mirror.publish("A", TARGETS)
    assert client.download("a/first") == 0
    client.days_ahead = 18
    assert client.download("a/second") == 1
    mirror.delegated["A"].expires = in_days(25)
    mirror.publish("A")
    assert client.download("a/second") == 0
    assert client.downloaded() == [b"first", b"second"]


@dataclass
class Graph:
    """Who delegates to whom what, in order; which roles are asked for, in order."""

    edges: Sequence[tuple[str, str] | tuple[str, str, str]]
    visited: str
    terminating: str = ""
    """By these roles' names."""
    name: str = field(default="", kw_only=True)


GRAPHS = [
    Graph([("targets", "A")], "A", name="one"),
    Graph([("targets", "A"), ("targets", "B")], "AB", name="two in order"),
    Graph([("targets", "A"), ("targets", "B"), ("A", "C"), ("A", "D")], "ACDB", name="depth first"),
    Graph([("targets", "A"), ("targets", "B"), ("A", "C"), ("C", "D")], "ACDB", name="three deep"),
    Graph(
        [("targets", "A"), ("targets", "B"), ("A", "C"), ("A", "D")], "AC", "C", name="terminating"
    ),
    Graph([("targets", "A", "*.py"), ("targets", "B"), ("A", "C")], "B", name="other paths"),
    Graph([("targets", "A"), ("A", "B"), ("B", "C"), ("C", "A")], "ABC", name="circle"),
    Graph([("targets", "A"), ("targets", "B"), ("A", "C"), ("B", "C")], "ACB", name="two parents"),
]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_delegations_are_searched_in_order_and_depth_first(
    mirror: Mirror, client: Client, graph: Graph
) -> None:
    for by, role, *paths in graph.edges:
        mirror.delegate(by, role, paths or ["*"], terminating=role in graph.terminating)
    mirror.publish(*mirror.delegated, TARGETS)
    assert client.download("nowhere") == 1
    assert mirror.metadata_asked()[4:] == [f"1.{role}.json" for role in graph.visited]


@pytest.mark.parametrize(
    ("path", "visited", "is_found"),
    [
        ("top", [], True),
        ("README.md", ["A"], True),
        ("out/x/one", ["B", "C"], True),
        ("out/y/two", ["B"], False),
    ],
)
def test_a_target_is_found_where_every_role_on_the_way_delegates_it(
    mirror: Mirror, client: Client, path: str, visited: list[str], is_found: bool
) -> None:
    mirror.delegate(TARGETS, "A", ["*.md"])
    mirror.delegate(TARGETS, "B", ["out/*/*"])
    mirror.delegate("B", "C", ["out/x/*"])
    for role, name in (
        (TARGETS, "top"),
        ("A", "README.md"),
        ("C", "out/x/one"),
        ("C", "out/y/two"),
    ):
        mirror.add_target(role, name, name.encode())
    mirror.publish("A", "B", "C", TARGETS)
    assert client.download(path) == (0 if is_found else 1)
    assert client.downloaded() == ([path.encode()] if is_found else [])
    assert mirror.metadata_asked()[4:] == [f"1.{role}.json" for role in visited]


@pytest.mark.parametrize("role", ["?", "#", "/role", "../role", "a b", "ü"])
def test_strange_role_names_are_quoted_in_urls_and_lead_out_of_no_folder(
    mirror: Mirror, client: Client, role: str
) -> None:
    mirror.delegate(TARGETS, role)
    mirror.publish(role, TARGETS)
    assert client.download("nowhere") == 1
    assert f"1.{quote(role, '')}.json" in mirror.metadata_asked()
    assert len(client.believed()) == 5
    assert {path.name for path in client.folder.iterdir()} == {
        "metadata",
        "targets",
        "trusted.json",
    }


def test_targets_are_downloaded_and_verified(mirror: Mirror, client: Client) -> None:
    for path in ("plain", "some/where/deep"):
        mirror.add_target(TARGETS, path, path.encode())
    mirror.publish(TARGETS)
    assert client.refresh() == 0
    assert client.downloaded() == []
    assert client.download("plain", "some/where/deep") == 0
    assert client.downloaded() == [b"plain", b"some/where/deep"]


def test_a_target_that_is_here_is_not_downloaded_again(mirror: Mirror, client: Client) -> None:
    mirror.add_target(TARGETS, "file", b"content")
    mirror.publish(TARGETS)
    assert client.download("file") == 0
    mirror.asked.clear()
    assert client.download("file") == 0
    assert mirror.targets_asked() == 0


def test_a_target_that_changed_takes_the_place_of_the_old(mirror: Mirror, client: Client) -> None:
    for content in (b"one", b"two", b"three"):
        mirror.add_target(TARGETS, "file", content)
        mirror.publish(TARGETS)
        assert client.download("file") == 0
        assert client.downloaded() == [content]


@pytest.mark.parametrize("content", [b"c0ntent", b"content and more", b""])
def test_other_bytes_than_those_vouched_for_are_not_kept(
    mirror: Mirror, client: Client, content: bytes
) -> None:
    mirror.add_target(TARGETS, "file", b"content")
    mirror.publish(TARGETS)
    mirror.serve_target("file", content)
    assert client.download("file") == 1
    assert client.downloaded() == []


def test_one_bad_target_of_several_fails_the_command(mirror: Mirror, client: Client) -> None:
    mirror.add_target(TARGETS, "good", b"good")
    mirror.publish(TARGETS)
    assert client.download("good", "unknown") == 1


@pytest.mark.parametrize("interpreter", [[], [sys.executable]])
def test_the_executable_runs_from_anywhere(
    mirror: Mirror, client: Client, interpreter: list[str], tmp_path: Path
) -> None:
    words = ["--metadata-dir", str(client.metadata), "--metadata-url", f"{client.url}/metadata"]
    command = [*interpreter, str(CLIENT), *words, "refresh"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    assert mirror.metadata_asked() == FIRST_VISIT
    mirror.timestamp.version = 0
    mirror.put(TIMESTAMP)
    done = subprocess.run(command, cwd=tmp_path, check=False, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "timestamp.json" in done.stderr
