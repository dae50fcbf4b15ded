"""A commit that is stopped anywhere is finished by doing it again."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.chunk_id import Digest
from console.installed import entries_of
from console.installer import Owned, Target, commit, intent_of, remove_installed
from console.journal import Intent
from console.safe_paths import Folder, file_mode
from console.staging import staged_name
from manifests import locations
from manifests.assembly import assemble
from manifests.documents import Release, parse_root
from manifests.model import Build, EntryKind
from manifests.page import parse_page
from playhead import trees
from tests.any_tree import build_tree, groups_by_first_letter, scratch, steps
from tests.folder_publisher import LIVE, TITLE, FolderPublisher


class Crash(Exception):  # noqa: N818 - it is no error of ours
    """The machine stops here."""


class CrashingFolder(Folder):
    """A folder whose machine stops at the n-th change to it, as set by the test."""

    changes_left: ClassVar[int] = 0

    def _change(self) -> None:
        if CrashingFolder.changes_left == 0:
            raise Crash
        CrashingFolder.changes_left -= 1

    def make_folder(self, path: str) -> bool:
        self._change()
        return super().make_folder(path)

    def take_in(self, source: Folder, name: str, path: str) -> bool:
        self._change()
        return super().take_in(source, name, path)

    def remove_file(self, path: str) -> bool:
        self._change()
        return super().remove_file(path)

    def remove_folder(self, path: str) -> bool:
        self._change()
        return super().remove_folder(path)


def build_of(publisher: FolderPublisher, release: Release) -> Build:
    def content(digest: Digest) -> bytes:
        return publisher.objects[locations.manifest_key(TITLE, digest)]

    build_id = release.root.raw_digest
    root = parse_root(content(build_id), build_id, TITLE)
    pages = [[parse_page(content(p.raw_digest), p) for p in g.pages] for g in root.groups]
    return assemble(build_id, root, pages)


def stage(tree: Path, build: Build, staging: Path) -> None:
    """Put every file and link where a transfer would have built it."""
    staging.mkdir(exist_ok=True)
    for group, index, entry in entries_of(build, range(len(build.shards))):
        place = staging / staged_name(group, index)
        if entry.kind is EntryKind.LINK:
            place.symlink_to(entry.target)
        elif entry.kind.is_file:
            place.write_bytes((tree / entry.path).read_bytes())
            place.chmod(file_mode(is_executable=entry.kind is EntryKind.EXECUTABLE))


def committed(
    game: Path, staging: Path, target: Target, intent: Intent, old: Owned | None
) -> Owned:
    with Folder.at(game) as top, Folder.at(staging) as staged:
        return Owned(commit(top, staged, target, intent, old), target.build)


def crash(game: Path, staging: Path, target: Target, intent: Intent, old: Owned) -> None:
    """Commit until the folder crashes."""
    with CrashingFolder.at(game) as top, Folder.at(staging) as staged:
        try:
            commit(top, staged, target, intent, old)
        except Crash:
            return


@given(steps, steps, st.lists(st.integers(0, 30), max_size=3))
@settings(max_examples=60, deadline=None)
def test_commit_stopped_anywhere_is_finished_by_the_next(
    first: list[tuple[str, str, int, int]],
    second: list[tuple[str, str, int, int]],
    changes_until_crash: list[int],
) -> None:
    with scratch() as folder:
        old_tree, new_tree, game = folder / "old", folder / "new", folder / "game"
        game.mkdir()
        build_tree(old_tree, first)
        build_tree(new_tree, second)
        publisher = FolderPublisher()
        owned: Owned | None = None
        for tree in (old_tree, new_tree):
            release = publisher.publish(tree, group_of=groups_by_first_letter)
            target = Target(release, LIVE, build_of(publisher, release))
            staging = folder / f"staging-{tree.name}"
            stage(tree, target.build, staging)
            with Folder.at(game) as top:
                intent = intent_of(top, target.build, range(len(target.build.shards)))
            for changes in changes_until_crash if owned is not None else []:
                assert owned is not None
                CrashingFolder.changes_left = changes
                crash(game, staging, target, intent, owned)
            owned = committed(game, staging, target, intent, owned)
            assert list(trees.differences(tree, game)) == []
            assert list(staging.iterdir()) == []
        assert owned is not None
        with Folder.at(game) as top:
            remove_installed(top, owned)
        assert list(game.iterdir()) == []
