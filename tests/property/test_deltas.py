"""Any target is made of any base, and an index reads back as it was written."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from chunks.chunk_id import ChunkId, Digest, digest_of
from chunks.delta import Effort, Method, apply_delta, make_delta
from manifests.delta_index import StoredDelta, encode_delta_index, parse_delta_index
from manifests.documents import ObjectRef
from manifests.model import BundleRef

noise = st.tuples(st.integers(1, 40_000), st.integers(0, 3)).map(
    lambda drawn: random.Random(drawn[1]).randbytes(drawn[0])
)
contents = st.one_of(
    st.binary(min_size=1, max_size=200),
    noise,
    st.tuples(noise, st.binary(max_size=30), noise).map(b"".join),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 9000)).map(lambda d: d[0] * d[1]),
)


@settings(max_examples=60, deadline=None)
@given(target=contents, base=st.one_of(st.just(b""), contents), effort=st.sampled_from(Effort))
def test_any_target_is_made_of_any_base(target: bytes, base: bytes, effort: Effort) -> None:
    delta = make_delta(target, base, effort)
    of = b"" if delta.method is Method.LZMA else base
    assert apply_delta(delta.method, delta.payload, of, len(target)) == target


@st.composite
def delta_lists(draw: st.DrawFn) -> list[StoredDelta]:
    """Deltas that make distinct chunks of others, in a few bundles, with gaps in between."""
    count = draw(st.integers(1, 30))
    bundle_count = draw(st.integers(1, min(count, 4)))
    bundles = [BundleRef(digest_of(b"%d" % at), 4 << 20) for at in range(bundle_count)]
    homes = [*range(bundle_count), *(draw(st.integers(0, bundle_count - 1)) for _ in range(count))]
    made = 0
    deltas: list[StoredDelta] = []
    for at in range(count):
        target_count = draw(st.integers(1, 4))
        bases = draw(st.lists(st.integers(0, 20), max_size=5, unique=True))
        deltas.append(
            StoredDelta(
                targets=tuple(chunk("new", made + each) for each in range(target_count)),
                bases=tuple(chunk("old", each) for each in bases),
                method=draw(st.sampled_from(Method)),
                check=digest_of(b"payload %d" % at)[:16],
                bundle=bundles[homes[at]],
                offset=draw(st.integers(0, 3 << 20)),
                size=draw(st.integers(1, 1 << 20)),
            )
        )
        made += target_count
    return deltas


def chunk(kind: str, number: int) -> ChunkId:
    return ChunkId(digest_of(f"{kind} {number}".encode())[:16])


@settings(max_examples=100, deadline=None)
@given(delta_lists(), st.integers(0, 5))
def test_any_index_reads_back(deltas: list[StoredDelta], salt: int) -> None:
    chance = random.Random(salt)
    ids = {chunk_id for delta in deltas for chunk_id in (*delta.targets, *delta.bases)}
    sizes = {chunk_id: chance.randrange(1, (1 << 20) + 1) for chunk_id in sorted(ids)}
    data = encode_delta_index(deltas, sizes)
    digest = Digest(digest_of(data))
    index = parse_delta_index(data, ObjectRef(digest=digest.hex(), size=len(data)))
    assert [index.delta(at) for at in range(len(index))] == deltas
    assert dict(zip(index.all_ids, index.sizes.tolist(), strict=True)) == sizes
