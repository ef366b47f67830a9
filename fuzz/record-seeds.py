"""Records what the kernel and the iptables programs of this machine say, as seeds for the fuzzer:

    hack/in-namespaces.sh /usr/bin/python3 fuzz/record-seeds.py FOLDER-WITH-BINARIES

Everything is made in an empty network namespace, so the seeds hold nothing of the machine. Numbers that the kernel
gives out (handles, ports of sockets) differ from one run to the next.
"""

import pathlib
import select
import socket
import struct
import subprocess
import sys

ROUTE, NETFILTER = 0, 12
ADD_MEMBERSHIP, SOL_NETLINK = 1, 270
LINKS, IPV4_ADDRESSES, IPV6_ADDRESSES, NFTABLES = 1, 5, 9, 7
REQUEST_DUMP = 0x301
ERROR, DONE = 2, 3
GETLINK, GETADDR, NEWLINK = 18, 22, 16
# What nf_tables is asked for: type of the request.
TABLES, CHAINS, RULES, SETS, ELEMENTS = (0x0A00 | kind for kind in (1, 4, 7, 10, 13))
FAMILIES = {"ip": 2, "ip6": 10, "inet": 1}

repository = pathlib.Path(__file__).resolve().parent.parent
seeds = repository / "fuzz/seeds"
agent = pathlib.Path(sys.argv[1]).resolve() / "apiserver-proxy-sidecar"
addresses = "--ip-address=10.96.0.2,fd00::2"


def sh(command, code=0, data=None):
    done = subprocess.run(command, shell=True, input=data, capture_output=True)
    assert done.returncode == code, f"{command}: {done.returncode} {done.stderr}"
    return done


def save(target, case, data):
    (seeds / target).mkdir(exist_ok=True)
    (seeds / target / case).write_bytes(data)


def attributes(payload):
    while len(payload) >= 4:
        length, kind = struct.unpack_from("=HH", payload)
        yield kind & 0x3FFF, payload[4:length]
        payload = payload[(length + 3) & ~3 :]


def attribute(payload, wanted):
    return next((value for kind, value in attributes(payload) if kind == wanted), None)


def nla(kind, value):
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def messages(datagram):
    while len(datagram) >= 16:
        length, kind = struct.unpack_from("=IH", datagram)
        yield kind, datagram[:length] + bytes(-length % 4)
        datagram = datagram[(length + 3) & ~3 :]


def ask(protocol, kind, flags, body):
    """The datagrams that come back."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as asking:
        asking.bind((0, 0))
        asking.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        datagrams = []
        while not datagrams or not any(kind in (ERROR, DONE) for kind, _ in messages(datagrams[-1])):
            datagrams.append(asking.recv(1 << 17))
        return datagrams


def dump(kind, family, of=b""):
    """All things of a kind, one message each."""
    datagrams = ask(NETFILTER, kind, REQUEST_DUMP, struct.pack("BBH", FAMILIES[family], 0, 0) + of)
    return [message for datagram in datagrams for kind, message in messages(datagram) if kind not in (ERROR, DONE)]


class Events:
    def __init__(self):
        self.sockets = []
        for protocol, groups in ((ROUTE, (LINKS, IPV4_ADDRESSES, IPV6_ADDRESSES)), (NETFILTER, (NFTABLES,))):
            listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            listening.bind((0, 0))
            for group in groups:
                listening.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
            self.sockets.append(listening)

    def take(self):
        told = b""
        while ready := select.select(self.sockets, [], [], 0.1)[0]:
            for listening in ready:
                told += listening.recv(1 << 17)
        return told

    def of(self, case, command):
        self.take()
        sh(command)
        save("netlink_events", case, self.take())


def record_events():
    events = Events()
    events.of("link-comes", "ip link add veth7 type veth peer name veth8 && ip link set veth7 up")
    v4, v6 = "10.96.0.2/32 dev lo", "fd00::2/128 dev lo"
    events.of("addresses-come", f"ip address add {v4} scope host && ip address add {v6} nodad")
    events.of("addresses-go", f"ip address del {v4} && ip address del {v6}")
    events.of("link-goes", "ip link del veth7")
    run = f"{agent} {addresses} --setup-iptables --daemon=false"
    events.of("agent-comes-nftables", f"{run} --rules-backend=nftables")
    events.of("agent-goes-nftables", f"{run} --rules-backend=nftables --cleanup")
    events.of("agent-comes-iptables-nft", f"{run} --rules-backend=iptables-nft")
    events.of("agent-goes-iptables-nft", f"{run} --rules-backend=iptables-nft --cleanup")
    events.of("tables-go", "nft flush ruleset")


def record_listings():
    run = f"{agent} {addresses} --setup-iptables --daemon=false"
    sh(f"{run} --rules-backend=nftables")
    name = next(attribute(table[20:], 1) for table in dump(TABLES, "inet")).rstrip(b"\0").decode()

    def listing(case):
        data = b"".join(message for kind in (TABLES, CHAINS, RULES) for message in dump(kind, "inet"))
        save("nft_listing", case, data)

    listing("whole")
    sh(f"nft insert rule inet {name} filter_input ip saddr 192.0.2.1 drop comment other")
    listing("one-rule-more")
    sh(f"nft flush chain inet {name} raw_output")
    listing("chain-empty")
    sh(f"nft delete chain inet {name} raw_output")
    listing("chain-gone")
    sh(f"{run} --rules-backend=nftables && nft 'add table inet {name} {{ flags dormant; }}'")
    listing("asleep")
    sh("nft flush ruleset")

    for variant in "nft", "legacy":
        for program in f"iptables-{variant}", f"ip6tables-{variant}":
            sh(f"{program} -A INPUT -m comment --comment 'not ours -j ACCEPT' -p tcp --dport 443 -j ACCEPT")
            sh(f"{program} -A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
        sh(f"{run} --rules-backend=iptables-{variant}")
        for program in f"iptables-{variant}", f"ip6tables-{variant}":
            for table, chain in ("raw", "PREROUTING"), ("raw", "OUTPUT"), ("filter", "INPUT"), ("filter", "OUTPUT"):
                printed = sh(f"{program} -t {table} -S {chain}").stdout
                save("iptables_listing", f"{program}-{table}-{chain.lower()}", printed)
            whole = sh(f"{program} -t filter -S").stdout
            save("iptables_listing", f"{program}-twice", whole + whole)

    def answer(case, command):
        done = subprocess.run(command, shell=True, capture_output=True)
        save("iptables_answer", case, struct.pack("<H", done.returncode << 8) + done.stderr)

    for variant in "nft", "legacy":
        answer(f"{variant}-good", f"iptables-{variant} -S OUTPUT")
        answer(f"{variant}-no-rule", f"iptables-{variant} -D OUTPUT -p udp -j ACCEPT")
        answer(f"{variant}-no-chain", f"iptables-{variant} -S ABSENT")
        answer(f"{variant}-no-target", f"iptables-{variant} -A OUTPUT -j ABSENT")
        answer(f"{variant}-no-table", f"iptables-{variant} -t absent -S OUTPUT")
        answer(f"{variant}-bad-option", f"iptables-{variant} --bogus")
        answer(f"{variant}-denied", f"setpriv --bounding-set=-all --inh-caps=-all iptables-{variant} -S OUTPUT")
    answer("locked", "flock /run/xtables.lock iptables-legacy -w 1 -S OUTPUT")
    answer("lock-file", "XTABLES_LOCKFILE=/proc/absent iptables-legacy -w 1 -S OUTPUT")
    save("iptables_answer", "killed", struct.pack("<H", 9))
    for program in "iptables-legacy", "ip6tables-legacy":
        sh(f"{program} -F && {program} -t raw -F")
    sh("nft flush ruleset && ip address flush dev lo scope host || true")


def record_conflicts():
    for version, family in ("4", "ip"), ("6", "ip6"):
        program = "iptables" if version == "4" else "ip6tables"
        rules = (repository / f"testdata/agent/conflict/v{version}.rules").read_bytes()
        sh(f"{program}-legacy-restore", data=rules)
        save("conflict_legacy", f"v{version}", sh(f"{program}-legacy -t nat -S").stdout)
        sh(f"{program}-legacy -t nat -F")
        sh(f"{program}-nft-restore", data=rules)
        expressions(family, f"v{version}-iptables")
        sh("nft flush ruleset")
        sh(f"nft -f {repository}/testdata/agent/conflict/v{version}.nft")
        expressions(family, f"v{version}-nft")
        expressions("inet", f"v{version}-inet")
        for set_ in dump(SETS, family):
            table, name = attribute(set_[20:], 1), attribute(set_[20:], 2)
            case = f"v{version}-" + name.rstrip(b"\0").decode().replace("%", "")
            found = dump(ELEMENTS, family, nla(1, table) + nla(2, name))
            save("conflict_elements", case, set_[20:])
            # The last message of a dump may have none.
            save("conflict_elements", f"{case}-elements", max(found, key=len)[20:])
        sh("nft flush ruleset")


def expressions(family, case):
    """A rule for each list of expressions that there is."""
    kinds = set()
    for message in dump(RULES, family):
        value = attribute(message[20:], 4) or b""
        names = [attribute(expression, 1).rstrip(b"\0").decode() for _, expression in attributes(value)]
        if (shape := "-".join(names)) and shape not in kinds:
            kinds.add(shape)
            save("conflict_rule", f"{case}-{shape}", value)


def record_messages():
    save("netlink_messages", "links", ask(ROUTE, GETLINK, REQUEST_DUMP, bytes(16))[0])
    save("netlink_messages", "addresses", ask(ROUTE, GETADDR, REQUEST_DUMP, bytes(8))[0])
    save("netlink_messages", "end", ask(ROUTE, GETADDR, REQUEST_DUMP, bytes(8))[-1])
    save("netlink_messages", "refused", ask(NETFILTER, TABLES, 5, struct.pack("BBH", 2, 0, 0) + nla(1, b"absent\0"))[0])
    sh(f"nft -f {repository}/testdata/agent/conflict/v4.nft")
    for what, kind in ("tables", TABLES), ("chains", CHAINS), ("rules", RULES), ("sets", SETS):
        found = ask(NETFILTER, kind, REQUEST_DUMP, struct.pack("BBH", 2, 0, 0))[0]
        # Some of them will do.
        save("netlink_messages", what, b"".join(list(message for _, message in messages(found))[:6]))
    sh("nft flush ruleset")


def record_sockets():
    with subprocess.Popen([agent, "--ip-address=10.96.0.2", "--ip-address=fd00::2"], stderr=subprocess.PIPE) as running:
        while b"10.96.0.2" not in pathlib.Path("/proc/net/unix").read_bytes():
            assert running.poll() is None, "the agent ended"
        others = []
        for name in b"/run/some.sock", b"\0other", b"\0with\nline feed", b"\0with space", b"\0a\0b\xff", b"":
            other = socket.socket(socket.AF_UNIX)
            other.bind(name)
            other.listen()
            others.append(other)
        listed = pathlib.Path("/proc/net/unix").read_bytes()
        save("unix_socket_names", "an-agent-and-others", listed)
        save("unix_socket_names", "cut-short", listed[: listed.rindex(b"/lo")])
        running.terminate()
        running.communicate()
    save("unix_socket_names", "others-only", pathlib.Path("/proc/net/unix").read_bytes())


record_sockets()
sh("ip address flush dev lo to 10.96.0.2 && ip address flush dev lo to fd00::2")
record_events()
record_listings()
record_conflicts()
record_messages()
