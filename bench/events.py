"""When the kernel says that things go and come: netlink events of addresses and of nf_tables, with their times."""

import os
import select
import socket
import struct
import subprocess
import time

ROUTE, NETFILTER = 0, 12
DELADDR, NEWADDR = 21, 20
DELRULE, NEWRULE = 0x0A08, 0x0A06
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
IPV4_ADDRESSES, IPV6_ADDRESSES, NFTABLES = 5, 9, 7
LIMIT = 120.0


class Events:
    """Events of one kind: of what is there (`came`), and of what was (`went`)."""

    def __init__(self, protocol, groups, went, came):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((0, 0))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        self.went, self.came = went, came

    def clear(self):
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(1 << 16)

    def after_command(self, damage, count=1):
        """Milliseconds until `count` things came, from when the first went, and from when the command had ended."""
        self.clear()
        with subprocess.Popen(damage, shell=True, stderr=subprocess.DEVNULL) as process:
            gone, ended, back = self.wait(count, os.pidfd_open(process.pid))
        return (back - gone) * 1000, max(0.0, back - (ended or back)) * 1000

    def after_call(self, damage, count=1):
        """The same for damage done in this process: from when the first went."""
        self.clear()
        damage()
        gone, _, back = self.wait(count, None)
        return (back - gone) * 1000

    def wait(self, count, process):
        gone = ended = None
        seen, deadline = 0, time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            watched = [self.socket] + ([process] if process is not None and ended is None else [])
            readable = select.select(watched, [], [], 1.0)[0]
            now = time.monotonic()
            if process in readable:
                ended = now
                os.close(process)
            if self.socket not in readable:
                continue
            datagram = self.socket.recv(1 << 16)
            while len(datagram) >= 16:
                length, kind = struct.unpack_from("=IH", datagram)
                datagram = datagram[(length + 3) & ~3:]
                if kind == self.went and gone is None:
                    gone = now
                elif kind == self.came and gone is not None:
                    seen += 1
                    if seen == count:
                        return gone, ended, now
        raise RuntimeError(f"not back within {LIMIT} s")


def addresses():
    return Events(ROUTE, [IPV4_ADDRESSES, IPV6_ADDRESSES], DELADDR, NEWADDR)


def rules():
    return Events(NETFILTER, [NFTABLES], DELRULE, NEWRULE)


class Flusher:
    """Flushes tables of nf_tables over a socket that it keeps open, as a daemon would."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self.socket.bind((0, 0))

    def flush(self, *tables):
        """Each table as its family's number and its name; in one transaction."""
        def message(kind, family, resource, attributes=b""):
            body = struct.pack("=BBH", family, 0, socket.htons(resource)) + attributes
            return struct.pack("=IHHII", 16 + len(body), kind, 1, 0, 0) + body

        def table_attribute(name):
            value = name.encode() + b"\0"
            return (struct.pack("=HH", 4 + len(value), 1) + value).ljust((4 + len(value) + 3) & ~3, b"\0")

        batch = message(0x10, 0, 10)
        for family, name in tables:
            batch += message(DELRULE, family, 0, table_attribute(name))
        self.socket.send(batch + message(0x11, 0, 10))
