#!/usr/bin/env python3
"""Asks curl, wget, Python's requests and urllib which hosts they reach past the proxy, and writes dialects.tsv.

    unshare -rn testdata/egress/record-dialects.py > testdata/egress/dialects.tsv

In a network namespace of its own nothing is there but a proxy that answers everything: what gets an answer went
through it. Needs curl 7.86 or later, wget, and the Python package requests.
"""

import http.server
import os
import subprocess
import sys
import threading
import urllib.request

import requests

LISTS = {
    "cluster.local,100.64.0.0/13,178.170.32.59,example.com,svc,127.0.0.1,localhost": [
        "cluster.local", "a.svc.cluster.local", "a.b.svc", "xsvc", "a.b.svc.", "100.65.0.1", "100.72.0.1",
        "178.170.32.59", "178.170.32.5", "example.com", "www.example.com", "WWW.Example.COM", "notexample.com",
        "example.com.", "example.org", "localhost", "127.0.0.1", "127.0.0.2", "[::1]",
    ],
    ".svc,.Example.com,foo.bar.": [
        "svc", "a.svc", "example.com", "www.example.com", "foo.bar", "foo.bar.", "a.foo.bar.",
    ],
    "foo.bar": ["foo.bar", "foo.bar.", "a.foo.bar."],
    "foo.bar,foo.bar.": ["foo.bar", "foo.bar.", "foo.bar.org"],
    "*.example.com,*": ["www.example.com", "example.com", "other.org", "10.0.0.1"],
    "*": ["example.com", "10.0.0.1", "[fd00::1]"],
    "fd00::/8,2001:db8::/33,::1,[fd01::1]": ["[fd00::1]", "[fd01::1]", "[2001:db8::1]", "[2001:db8:8000::1]", "[::1]", "10.0.0.1"],
    "10.0.0.0/8,0.0.0.0/0,1.1": ["10.1.2.3", "8.8.8.8", "11.0.1.1", "0.0.0.0"],
    "172.16.0.0/16,10.0.0.5/32,10.9.0.1/24": ["172.16.9.9", "172.17.0.1", "10.0.0.5", "10.0.0.6", "10.9.0.77"],
    "example.com:8080": ["example.com", "example.com:8080", "www.example.com:8080", "example.com:80"],
}


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"proxied")

    def log_message(self, *_):
        pass


def run(*command):
    done = subprocess.run(command, capture_output=True, check=False)
    return done.stdout == b"proxied"


def by_requests(url):
    try:
        return requests.get(url, timeout=3).text == "proxied"
    except requests.RequestException:
        return False


def by_urllib(url):
    try:
        return urllib.request.urlopen(url, timeout=3).read() == b"proxied"
    except OSError:
        return False


ASK = {
    "curl": lambda url: run("curl", "-q", "-s", "-m", "3", url),
    "wget": lambda url: run("wget", "--no-config", "-q", "-T", "3", "-t", "1", "-O", "-", url),
    "requests": by_requests,
    "urllib": by_urllib,
}


def version(command):
    words = subprocess.run([command, "--version"], capture_output=True, check=True, text=True).stdout.split()
    return next(word for word in words if word[0].isdigit())


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 3128), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["http_proxy"] = "http://127.0.0.1:3128"
    print(f"# Recorded by record-dialects.py: curl {version('curl')}, wget {version('wget')}, "
          f"requests {requests.__version__} on Python {sys.version.split()[0]}.")
    print("# program\tNO_PROXY\thost\tway")
    for members, hosts in LISTS.items():
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = members
        for host in hosts:
            for program, ask in ASK.items():
                print(program, members, host, "proxy" if ask(f"http://{host}/") else "direct", sep="\t")


main()
