"""What trust costs: signing one publication, and what a console fetches to believe it.

The population is synthetic: 500 publishers with 50,000 builds of 10,000 titles, two channels each.
Digests do not compress and names are made of words, so sizes are what they would be.

CPU is of the whole process, threads included, in memory: what storage takes is its own affair.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Targets

from benchmarks.table import parser, show
from kit.clock import ManualClock
from kit.object_storage.testing import MemoryStorage
from manifests.documents import DeltaRef, Head, ObjectRef, Release, encode
from manifests.locations import release_key, trust_key
from manifests.names import Channel, TitleId, Version
from manifests.trust_bundle import HEAD, encode_bundle
from manifests.trust_document import parse, sign
from manifests.trust_metadata import (
    BIN_BITS,
    RoleKeys,
    bin_of,
    head_target,
    pointed,
    release_with,
    root_with,
    shard_with,
    snapshot_with,
    targets_with,
    timestamp_with,
    vouched,
)
from manifests.trust_roles import (
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    PublisherId,
    publisher_role,
    shard_role,
)
from origin.group_commit import HeldLock
from origin.registry import Registry

PUBLISHERS, BUILDS, TITLES = 500, 50_000, 10_000
CHANNELS = (Channel("live"), Channel("beta"))
NOW_S = 1_800_000_000.0
BITS = (6, 7, 8, 9, 10, 12)
ROUNDS = 41
WORDS = [
    "iron", "star", "deep", "hollow", "night", "river", "crown", "ember", "frost", "wild",
    "silent", "lost", "golden", "shadow", "storm", "city", "garden", "dragon", "rocket",
    "island", "tale", "quest", "saga", "racer", "legends", "chronicle", "tactics", "origins",
]  # fmt: skip


@dataclass
class Population:
    """Who publishes what, and everybody's keys."""

    rng: random.Random
    holder: Signer = field(default_factory=CryptoSigner.generate_ed25519)
    online: dict[str, Signer] = field(
        default_factory=lambda: {
            role: CryptoSigner.generate_ecdsa() for role in (TIMESTAMP, SNAPSHOT, RELEASE)
        }
    )
    signers: dict[PublisherId, Signer] = field(default_factory=dict)
    releases: dict[PublisherId, list[Release]] = field(default_factory=dict)
    said: dict[str, Targets] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)

    def fill(self) -> None:
        """Let every publisher vouch for its builds, and every shard name its publishers."""
        per_title = BUILDS // TITLES
        for index in range(PUBLISHERS):
            who = PublisherId(f"{self._name(2)}-{index}")
            titles = [TitleId(f"{self._name(3)}-{index}-{n}") for n in range(TITLES // PUBLISHERS)]
            releases = [
                self.release(title, counter)
                for title in titles
                for counter in range(1, per_title + 1)
            ]
            self.signers[who], self.releases[who] = CryptoSigner.generate_ed25519(), releases
            key = RoleKeys((self.signers[who].public_key,))
            shard = shard_with(self.said.get(shard_role(who)), who, key, titles, NOW_S)
            self._say(shard_role(who), shard, self.holder)
            self._say(publisher_role(who), vouched(None, who, releases, NOW_S), self.signers[who])

    def release(self, title: TitleId, counter: int) -> Release:
        """Return a release of a build that nobody has."""
        return Release(
            title=title,
            counter=counter,
            version=Version(f"1.{counter}.0"),
            created_at="2026-11-25T12:00:00Z",
            root=ObjectRef(digest=self.rng.randbytes(32).hex(), size=20_000),
        )

    def stored(self, bits: int) -> tuple[MemoryStorage, bytes, dict[str, int]]:
        """Return all of it in storage with ``2**bits`` bins, the root, and versions by role."""
        root, targets, release = self._top(bits)
        bins: dict[str, list[tuple[PublisherId, Release, Channel]]] = {}
        for who, releases in self.releases.items():
            newest = {each.title: each for each in releases}
            for each in newest.values():
                for channel in CHANNELS:
                    path = head_target(who, each, channel).path
                    bins.setdefault(bin_of(release, path), []).append((who, each, channel))
        documents = {**self.documents, TARGETS: sign(targets, [self.holder])}
        documents[RELEASE] = sign(release, [self.online[RELEASE]])
        versions = {role: said.version for role, said in self.said.items()}
        versions |= {TARGETS: 1, RELEASE: 1}
        for role, heads in bins.items():
            said = pointed(None, role, [head_target(*each) for each in heads], NOW_S)
            said.version = versions[role] = self.rng.randrange(1, 3 * len(heads))
            documents[role] = sign(said, [self.online[RELEASE]])
        snapshot = snapshot_with(None, versions, NOW_S)
        snapshot.version = 40_000
        timestamp = timestamp_with(None, snapshot.version, NOW_S)
        documents[SNAPSHOT] = sign(snapshot, [self.online[SNAPSHOT]])
        versions[SNAPSHOT] = snapshot.version
        documents[ROOT], versions[ROOT] = root, 1
        storage = MemoryStorage()
        for role, document in documents.items():
            storage._objects[trust_key(role, versions[role])] = (document, 0.0)
        signed = sign(timestamp, [self.online[TIMESTAMP]])
        storage._objects[trust_key(TIMESTAMP)] = (signed, 0.0)
        return storage, root, versions

    def _top(self, bits: int) -> tuple[bytes, Targets, Targets]:
        online = {role: RoleKeys((signer.public_key,)) for role, signer in self.online.items()}
        holder, of_release = RoleKeys((self.holder.public_key,)), online.pop(RELEASE)
        root = root_with(None, {**online, ROOT: holder, TARGETS: holder}, NOW_S)
        targets = targets_with(None, shards=holder, release=of_release, now_s=NOW_S)
        release = release_with(None, of_release, NOW_S, bin_bits=bits)
        return sign(root, [self.holder]), targets, release

    def _say(self, role: str, said: Targets, signer: Signer) -> None:
        said.version = max(said.version, self.rng.randrange(60, 400))
        self.said[role] = said
        self.documents[role] = sign(said, [signer])

    def _name(self, count: int) -> str:
        return "-".join(self.rng.choices(WORDS, k=count))


class Held:
    """A lock that nobody contends for."""

    async def check_held(self) -> None:
        """Do nothing."""


def main() -> None:
    """Measure sizes by bits, and CPU with the bits that are used."""
    options = parser(__doc__).parse_args()
    population = Population(random.Random(7))
    population.fill()
    notes = [
        f"{PUBLISHERS} publishers, {BUILDS:,} builds, {TITLES:,} titles, "
        f"{TITLES * len(CHANNELS):,} heads; a bundle has head, root, timestamp, snapshot, targets, "
        "release, bin, shard and publisher of one title, and is compressed",
        f"the product has {2**BIN_BITS} bins ({BIN_BITS} bits); bundles of 20 titles, median and "
        "largest",
        f"CPU of one publication: median and 95th percentile of {ROUNDS}; re-signed are bin, "
        "snapshot and timestamp, the publisher's signature and rules are checked",
        "fresh process: nothing in memory, as for a push on the command line; all that is built "
        "on is read and verified first",
    ]
    heading = ["bins", "snapshot", "bin", "publisher", "shard", "targets", "bundle", "largest"]
    show(
        "trust",
        "python -m benchmarks.trust",
        [heading, *_size_rows(population), *asyncio.run(_cpu_rows(population, len(heading)))],
        save=options.save,
        notes=notes,
    )


def _size_rows(population: Population) -> Iterator[list[str]]:
    titles = population.rng.sample(
        [(who, r) for who, rs in population.releases.items() for r in rs if r.counter == 5], 20
    )
    for bits in BITS:
        storage, _, versions = population.stored(bits)
        found = [_documents(storage, versions, who, release) for who, release in titles]
        bundles = sorted(len(encode_bundle(each)) for each in found)

        def size(prefix: str, found: list[dict[str, bytes]] = found) -> str:
            sizes = [len(d) for each in found for name, d in each.items() if f".{prefix}" in name]
            return _kb(statistics.median(sizes))

        yield [
            f"{2**bits:,}{' *' if bits == BIN_BITS else ''}",
            size("snapshot"),
            size("release-bin"),
            size("publisher"),
            size("shard"),
            size("targets"),
            _kb(statistics.median(bundles)),
            _kb(bundles[-1]),
        ]


def _documents(
    storage: MemoryStorage, versions: dict[str, int], who: PublisherId, release: Release
) -> dict[str, bytes]:
    top = parse(storage._objects[trust_key(RELEASE, 1)][0], Targets, RELEASE).signed
    bin_role = bin_of(top, head_target(who, release, CHANNELS[0]).path)
    roles = [SNAPSHOT, TARGETS, RELEASE, bin_role, shard_role(who), publisher_role(who), ROOT]
    names = [TIMESTAMP, *(f"{versions[role]}.{role}" for role in roles)]
    found = {f"{name}.json": storage._objects[f"trust/{name}.json"][0] for name in names}
    return {HEAD: encode(_head(release)), **found}


def _head(release: Release) -> Head:
    rng = random.Random(release.root.digest)
    deltas = tuple(
        DeltaRef(
            base=release.counter - back,
            target=release.counter,
            index=ObjectRef(digest=rng.randbytes(32).hex(), size=9_000),
            manifest=ObjectRef(digest=rng.randbytes(32).hex(), size=2_000),
        )
        for back in (1, 2, 3)
    )
    return Head(title=release.title, channel=CHANNELS[0], release=release, deltas=deltas)


async def _cpu_rows(population: Population, width: int) -> list[list[str]]:
    storage, root, _ = population.stored(BIN_BITS)
    clock = ManualClock(NOW_S + 60)

    def registry() -> Registry:
        return Registry(
            storage,
            root,
            online=lambda: {role: [signer] for role, signer in population.online.items()},
            new_lock=_unlocked,
            clock=clock,
        )

    warm = registry()
    seen = list(population.signers)[:ROUNDS]

    async def handed_in(who: PublisherId) -> Callable[[Registry], Awaitable[None]]:
        newest = population.releases[who][-1]
        release = population.release(newest.title, newest.counter + 1)
        population.releases[who].append(release)
        key = release_key(release.title, release.counter)
        storage._objects[key] = (encode(release), 0.0)
        role = publisher_role(who)
        data = await warm.publisher_metadata(who)
        assert data is not None
        before = parse(data, Targets, role).signed
        signed = sign(vouched(before, who, [release], clock.now()), [population.signers[who]])
        return lambda to: to.accept(who, signed, release, CHANNELS[0])

    async def cpu_ms(publishers: list[PublisherId], to: Callable[[], Registry]) -> list[float]:
        times = []
        for who in publishers:
            call, target = await handed_in(who), to()
            started = time.process_time()
            await call(target)
            times.append((time.process_time() - started) * 1000)
        return times

    first = await cpu_ms(seen, lambda: warm)
    again = await cpu_ms(seen, lambda: warm)
    fresh = await cpu_ms(seen[:21], registry)
    warm = registry()
    await cpu_ms(seen[:1], lambda: warm)
    calls = [await handed_in(who) for who in seen[:32]]
    started = time.process_time()
    await asyncio.gather(*(call(warm) for call in calls))
    together = (time.process_time() - started) * 1000 / len(calls)
    clock.advance(16 * 86400)
    started = time.process_time()
    renewed = await warm.renew()
    renewal = (time.process_time() - started) * 1000
    blank = [""] * (width - 3)
    return [
        ["**CPU of one publication**", "median", "p95", *blank],
        ["publisher in memory", *_ms(again), *blank],
        ["publisher not in memory", *_ms(first), *blank],
        ["32 at once, each", f"{together:.1f} ms", "", *blank],
        ["fresh process", *_ms(fresh), *blank],
        [f"all {len(renewed)} roles anew, once a fortnight", f"{renewal:.0f} ms", "", *blank],
    ]


def _ms(times: list[float]) -> list[str]:
    ordered = sorted(times)
    return [f"{statistics.median(ordered):.1f} ms", f"{ordered[int(len(ordered) * 0.95)]:.1f} ms"]


def _unlocked() -> AbstractAsyncContextManager[HeldLock]:
    return nullcontext(Held())


def _kb(size: float) -> str:
    return f"{size / 1000:,.1f} kB"


if __name__ == "__main__":
    main()
