"""OpenStack Swift with its S3 API, as one node: the S3 that tests talk to."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import uuid4

import boto3

from kit.object_storage.s3_settings import S3Settings
from tests.polling import eventually_sync
from tests.servers.ports import free_ports

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

SERVERS = Path(__file__).resolve().parents[2] / ".servers" / "bin"

STORES = ("account", "container", "object")

# Run by the interpreter that has Swift: one ring per store, of one device.
MAKE_RINGS = """
import sys
from swift.common.ring import RingBuilder
for store, port in zip(("account", "container", "object"), sys.argv[2:]):
    ring = RingBuilder(4, 1, 1)
    ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "device": "disk",
                  "ip": "127.0.0.1", "port": int(port),
                  "replication_ip": "127.0.0.1", "replication_port": int(port)})
    ring.rebalance()
    ring.get_ring().save(sys.argv[1] + "/" + store + ".ring.gz")
"""

COMMON = """\
[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = only
default = yes
"""

STORE = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
devices = {disks}
mount_check = false
workers = 0
log_level = ERROR
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = {store}-server
[app:{store}-server]
use = egg:swift#{store}
"""

PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
workers = 0
log_level = ERROR
[pipeline:main]
pipeline = catch_errors listing_formats bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = {region}
min_segment_size = 1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


@dataclass(frozen=True, slots=True)
class Swift:
    """Where a running Swift is, and what opens it."""

    port: int
    access_key_id: str = "test:tester"
    secret_access_key: str = "testing"
    region: str = "us-east-1"

    bucket: str = "playhead"

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> S3Settings:
        """Return settings of an empty corner of the bucket, another one each time."""
        return S3Settings(
            bucket=self.bucket,
            prefix=f"test/{uuid4()}",
            endpoint_url=self.endpoint_url,
            region=self.region,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            addressing="path",
        )

    def client(self) -> S3Client:
        """Return a client of the test's own, to look behind our adapter."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
        )


@contextmanager
def running_swift(base: Path) -> Iterator[Swift]:
    """Run Swift with all its files below ``base``; the processes end with the block.

    Raises:
        FileNotFoundError: Swift is not installed.
        RuntimeError: One of its processes ended early; the message is what it wrote last.
    """
    if not (SERVERS / "swift-proxy-server").exists():
        raise FileNotFoundError(f"{SERVERS}/swift-proxy-server: run `make .servers/installed`")
    ports = dict(zip((*STORES, "proxy"), free_ports(4), strict=True))
    swift = Swift(ports["proxy"])
    _configure(base, ports, swift)
    with ExitStack() as processes:
        log = processes.enter_context((base / "log").open("wb"))
        started = [
            processes.enter_context(_process(f"swift-{name}-server", base / f"{name}.conf", log))
            for name in ports
        ]

        def is_ready() -> bool:
            if any(process.poll() is not None for process in started):
                raise RuntimeError(f"Swift ended: {(base / 'log').read_text()[-2000:]}")
            return all(_listens(port) for port in ports.values())

        eventually_sync(is_ready, within_s=60)
        with closing(swift.client()) as client:
            client.create_bucket(Bucket=swift.bucket)
        yield swift


def _configure(base: Path, ports: dict[str, int], swift: Swift) -> None:
    (base / "disks" / "disk").mkdir(parents=True)
    (base / "swift.conf").write_text(COMMON)
    place = {"etc": base, "disks": base / "disks", "user": getpass.getuser()}
    for store in STORES:
        (base / f"{store}.conf").write_text(STORE.format(store=store, port=ports[store], **place))
    (base / "proxy.conf").write_text(
        PROXY.format(port=swift.port, region=swift.region, secret=swift.secret_access_key, **place)
    )
    subprocess.run(
        [SERVERS / "python", "-c", MAKE_RINGS, base, *(str(ports[store]) for store in STORES)],
        check=True,
    )


@contextmanager
def _process(program: str, settings: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([SERVERS / program, settings], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
