"""When the kernel says that things go and come: netlink events of addresses and of nf_tables, with their times."""

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

    def milliseconds_until_back(self, damage, count=1, limit=120.0):
        """From the first thing that went, when a shell command runs, to the last of `count` that came."""
        self.clear()
        with subprocess.Popen(damage, shell=True, stderr=subprocess.DEVNULL):
            return self.wait(count, limit)

    def wait(self, count, limit):
        gone, seen, deadline = None, 0, time.monotonic() + limit
        while time.monotonic() < deadline:
            if not select.select([self.socket], [], [], 1.0)[0]:
                continue
            datagram, now = self.socket.recv(1 << 16), time.monotonic()
            while len(datagram) >= 16:
                length, kind = struct.unpack_from("=IH", datagram)
                datagram = datagram[(length + 3) & ~3:]
                if kind == self.went and gone is None:
                    gone = now
                elif kind == self.came and gone is not None:
                    seen += 1
                    if seen == count:
                        return (now - gone) * 1000
        raise RuntimeError(f"not back within {limit} s")


def addresses():
    return Events(ROUTE, [IPV4_ADDRESSES, IPV6_ADDRESSES], DELADDR, NEWADDR)


def rules():
    return Events(NETFILTER, [NFTABLES], DELRULE, NEWRULE)
