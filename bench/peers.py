"""The proxies that bench/proxy.py sets side by side, tuned alike: two threads, keepalives on both sides, no limits in
the way, no log."""

import os
import shutil
import subprocess
import tempfile
import time

ENVOY = """
admin: {{}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    tcp_backlog_size: 4096
    socket_options:
    - {{level: 1, name: 9, int_value: 1, state: STATE_LISTENING}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: api
          cluster: api
          idle_timeout: 0s
  clusters:
  - name: api
    type: STATIC
    connect_timeout: 5s
    upstream_connection_options: {{tcp_keepalive: {{keepalive_time: 15, keepalive_interval: 15}}}}
    circuit_breakers:
      thresholds: [{{max_connections: 1000000, max_pending_requests: 1000000, max_requests: 1000000}}]
    load_assignment:
      cluster_name: api
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 1000000
"""

HAPROXY = """
global
    nbthread 2
    maxconn 9850
    maxpipes 64
    tune.listener.multi-queue on
defaults
    mode tcp
    option splice-auto
    option tcpka
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen api
    bind 127.0.0.1:{port} backlog 4096
    server one 127.0.0.1:{upstream}
"""

# What both of nginx have in common. Modules are loaded before it.
PROCESS = """
worker_processes 2;
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/{port}.pid;
error_log /dev/null;
events {{ worker_connections 20000; multi_accept on; }}
"""

NGINX = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;" + PROCESS + """
stream {{
    server {{
        listen 127.0.0.1:{port} backlog=4096 so_keepalive=15s:15s:9;
        proxy_pass 127.0.0.1:{upstream};
        proxy_socket_keepalive on;
        proxy_half_close on;
        proxy_connect_timeout 5s;
        proxy_timeout 1h;
    }}
}}
"""

# What requests go to: answers from memory, over connections that live as long as the client wants.
SERVER = PROCESS + """
http {{
    access_log off;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""


class Process:
    """A program with the processes that it starts. It and they end when this is closed."""

    def __init__(self, name, command, port):
        self.name, self.port = name, port
        # None outlives the benchmark, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self):
        wanted = f":{self.port:04X}"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name}: exit code {self.process.returncode}")
            with open("/proc/net/tcp") as sockets:
                fields = [line.split() for line in sockets]
            if any(line[1].endswith(wanted) and line[3] == "0A" for line in fields[1:]):
                time.sleep(0.2)
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not listen")

    def pids(self):
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout
        return [self.process.pid, *map(int, found.split())]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Setup:
    """Programs and a folder for their files."""

    def __init__(self, binaries, envoy):
        self.folder = tempfile.mkdtemp(prefix="proxy-bench-")
        self.binary = os.path.join(binaries, "apiserver-proxy")
        self.bulk = os.path.join(binaries, "examples", "bulk")
        self.envoy = envoy

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def ours(self, port, upstream, *flags):
        upstreams = [upstream] if isinstance(upstream, int) else upstream
        command = [self.binary, f"--listen=127.0.0.1:{port}", "--threads=2", "--max-connections=1000000",
                   "--health-bind-address=", "--probe-socket=", "--drain-timeout=0s",
                   *[f"--upstream=127.0.0.1:{one}" for one in upstreams], *flags]
        return Process("ours", command, port)

    def haproxy(self, port, upstream):
        path = self._write("haproxy.cfg", HAPROXY.format(port=port, upstream=upstream))
        return Process("haproxy", ["haproxy", "-db", "-f", path], port)

    def nginx(self, port, upstream):
        path = self._write("nginx.conf", NGINX.format(port=port, upstream=upstream, folder=self.folder))
        return Process("nginx", ["nginx", "-c", path], port)

    def envoy_proxy(self, port, upstream):
        path = self._write("envoy.yaml", ENVOY.format(port=port, upstream=upstream))
        command = [self.envoy, "-c", path, "--concurrency", "2", "-l", "off", "--disable-hot-restart"]
        return Process("envoy", command, port)

    def server(self, port):
        path = self._write("server.conf", SERVER.format(port=port, folder=self.folder))
        return Process("server", ["nginx", "-c", path], port)

    def all(self, upstream):
        """The proxies, ours first, each about to start in front of the same port."""
        starts = [self.ours, self.haproxy, self.nginx, self.envoy_proxy]
        return (start(20000 + turn, upstream) for turn, start in enumerate(starts))
