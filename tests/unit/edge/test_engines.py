"""Configurations for nginx and Varnish: both read them, for our paths, and no wrong ones."""

from __future__ import annotations

import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from edge.engines import url_space
from edge.engines.deviations import table
from edge.engines.nginx import render_nginx
from edge.engines.nginx_build import ASSUMED, NginxBuild, parse_build
from edge.engines.plan import plan_engine
from edge.engines.settings import EngineSettings, GateSettings
from edge.engines.varnish import render_varnish
from kit.errors import NotFound, SettingsError
from kit.units import Seconds
from manifests.addresses import (
    BundleAddress,
    HeadAddress,
    ManifestAddress,
    ReleaseAddress,
    SliceAddress,
    SliceListAddress,
    TimestampAddress,
    TrustAddress,
    TrustBundleAddress,
    parse_path,
)
from tests.servers.engines import program, running_engine, some_plan

DOCS = Path(__file__).parents[3] / "docs" / "operating" / "engines.md"
EDGES = ["http://127.0.0.1:7402", "http://[::1]:7402", "http://edge-3.example"]

KINDS = {
    url_space.OBJECTS: (ManifestAddress, SliceListAddress, SliceAddress),
    url_space.BUNDLES: (BundleAddress,),
    url_space.HEADS: (HeadAddress, TrustBundleAddress, TimestampAddress),
    url_space.RECORDS: (ReleaseAddress, TrustAddress),
}

DIGEST = "0123456789abcdef" * 4
PATHS = [
    f"/t/a-title/m/{DIGEST}",
    f"/t/a-title/b/{DIGEST}",
    f"/t/a-title/b/{DIGEST}/slices",
    f"/t/a-title/b/{DIGEST}/31",
    "/t/a/h/live",
    "/t/a/h/live/trust",
    "/t/a/r/0000000001",
    "/trust/timestamp.json",
    "/trust/12.root.json",
    "/trust/12.release-bin-0a.json",
    "/trust/12.shard-0a.json",
    "/trust/12.publisher-some-one.json",
]


@st.composite
def nearly_paths(draw: st.DrawFn) -> str:
    """A path of ours, with up to two characters changed, left out or put in."""
    path = draw(st.sampled_from(PATHS))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(path)))
        put = draw(
            st.sampled_from(["", "0", "3", "9", "a", "g", "-", "/", ".", "A", "é", "\n", "%"])
        )
        path = path[:at] + put + path[at + draw(st.integers(0, 2)) :]
    return path


@given(nearly_paths())
def test_patterns_know_the_paths_that_exist_and_no_others(path: str) -> None:
    try:
        kind = type(parse_path(path))
    except NotFound:
        kind = None
    # In no request line is there an end of line, which alone Python's $ would let pass.
    found = [kinds for pattern, kinds in KINDS.items() if re.fullmatch(pattern, path)]
    assert [kind in kinds for kinds in found] == ([] if kind is None else [True])


@given(nearly_paths())
def test_what_exists_is_never_odd_and_has_its_title_found(path: str) -> None:
    try:
        address = parse_path(path)
    except NotFound:
        return
    assert re.search(url_space.ODD, path) is None
    captured = re.fullmatch(url_space.TITLE, path)
    title = getattr(address, "title", None)
    assert (captured[1] if captured else None) == title


@pytest.mark.parametrize("odd", ["/t/a?b=1", "/t/%61/h/live", "/t/../t", "/t//h", "/t/./h", "/a b"])
def test_what_could_be_read_in_two_ways_is_odd(odd: str) -> None:
    assert re.search(url_space.ODD, odd)


def test_a_build_is_read_from_what_nginx_prints() -> None:
    printed = (
        "nginx version: nginx/1.24.0 (Ubuntu)\nconfigure arguments: --with-http_ssl_module"
        " --with-http_geoip_module=dynamic --with-http_auth_request_module --with-stream"
    )
    assert parse_build(printed) == NginxBuild((1, 24, 0), frozenset({"ssl", "auth_request"}))
    with pytest.raises(SettingsError, match="no nginx"):
        parse_build("GNU bash, version 5")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (NginxBuild((1, 22, 1), frozenset({"slice"})), "http_auth_request"),
        (NginxBuild((1, 18, 0), ASSUMED.modules), "too old"),
    ],
)
def test_an_nginx_that_cannot_be_an_edge_is_refused(
    tmp_path: Path, build: NginxBuild, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        render_nginx(some_plan(tmp_path, *EDGES), build)


def test_what_an_nginx_lacks_its_configuration_says(tmp_path: Path) -> None:
    plain = NginxBuild((1, 22, 1), frozenset({"auth_request"}))
    text = render_nginx(some_plan(tmp_path, *EDGES), plain)
    assert "# This build lacks http_slice" in text
    assert "$slice_range" not in text
    assert "there was none to ask" in render_nginx(some_plan(tmp_path, *EDGES), None)


CHOICES = [
    {},
    {"workers": 0, "user": ""},
    {"user": "root:daemon", "connections_max": 64},
    {"client": EngineSettings().client},
]


def is_good(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("chosen", CHOICES)
@pytest.mark.parametrize("modules", [ASSUMED.modules, {"auth_request"}])
def test_nginx_takes_what_is_written_for_it(
    tmp_path: Path, chosen: dict[str, object], modules: frozenset[str]
) -> None:
    plan = some_plan(tmp_path, *EDGES[:2], **chosen)
    plan.cache_dir.mkdir()
    file = tmp_path / "nginx.conf"
    file.write_text(render_nginx(plan, NginxBuild((1, 22, 1), frozenset(modules))))
    is_good([program("nginx"), "-t", "-c", str(file)])


@pytest.mark.parametrize("count", [1, 2])
def test_varnish_takes_what_is_written_for_it(tmp_path: Path, count: int) -> None:
    file = tmp_path / "edge.vcl"
    file.write_text(render_varnish(some_plan(tmp_path, *EDGES[:count])))
    is_good([program("varnish"), "-C", "-j", "none", "-n", str(tmp_path / "n"), "-f", str(file)])


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


def speaking(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a client that speaks one version, and believes anybody."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.may_block
async def test_nginx_speaks_tls_1_3_and_nothing_else(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    chain, private = certificate
    plan = some_plan(tmp_path, EDGES[0], certificate=chain, certificate_key=private)
    async with running_engine(plan, "nginx") as url, aiohttp.ClientSession() as session:
        secure = url.replace("http:", "https:") + "/healthz"
        async with session.get(secure, ssl=speaking(ssl.TLSVersion.TLSv1_3)) as reply:
            assert await reply.text() == "ok\n"
        with pytest.raises(aiohttp.ClientError):
            await session.get(secure, ssl=speaking(ssl.TLSVersion.TLSv1_2))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"certificate": Path("/a.pem")}, "certificate_key"),
        ({"cache_dir": Path("/var/cache/with blank")}, "engine.cache_dir"),
        ({"cache_dir": Path("/x;}")}, "engine.cache_dir"),
        ({"user": "root; daemon on"}, "engine.user"),
    ],
)
def test_what_cannot_stand_in_a_configuration_is_refused(
    chosen: dict[str, object], words: str
) -> None:
    settings = EngineSettings(**({"cache_dir": Path("/c")} | chosen))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=words):
        plan_engine(settings, EDGES, Path("/gate.sock"), settings.cache_dir)


@pytest.mark.parametrize(
    "url", ["https://a:1", "http://a/path", "a:1", "http://a:x", "http://", "http://a b", "ftp://a"]
)
def test_an_upstream_that_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"engine\.upstreams"):
        plan_engine(EngineSettings(), [url], Path("/g"), Path("/c"))


def test_varnish_is_not_asked_for_tls(tmp_path: Path) -> None:
    chosen = {"certificate": Path("/a.pem"), "certificate_key": Path("/b.pem")}
    with pytest.raises(SettingsError, match="speaks no TLS"):
        render_varnish(some_plan(tmp_path, EDGES[0], **chosen))


def test_a_gate_is_not_told_to_believe_for_ever() -> None:
    with pytest.raises(ValueError, match="remember_for"):
        GateSettings(remember_for=Seconds(3600))


def test_what_engines_do_otherwise_is_in_the_docs() -> None:
    assert table() in DOCS.read_text()
