"""Who is measured: nginx, HAProxy, the minimal epoll proxy and Sluice, each alone on one core in front of one backend."""
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from measure import BUILT, GATEWAY_CORE, LOAD_CORE, certificate

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLUICE = os.environ.get("SLUICE_BINARY", str(ROOT / "build" / "sluice"))

NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log {log};
    log_format line '$remote_addr - [$time_iso8601] "$request" $status $body_bytes_sent "$http_user_agent" $request_time $upstream_response_time';
    tcp_nodelay on;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    proxy_max_temp_file_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096 {listen};
        {tls}
        location / {{
            {location}
        }}
    }}
}}
"""

GZIP_LEVEL = 5

NGINX_LOCATIONS = {
    "gzip": "proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\";"
            f" gzip on; gzip_comp_level {GZIP_LEVEL}; gzip_types application/json; gzip_min_length 1024; gzip_vary on;",
    "http": "proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\";",
    "grpc": "grpc_pass grpc://backend;",
    "websocket": "proxy_pass http://backend; proxy_http_version 1.1; proxy_read_timeout 300s;"
                 " proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
    "events": "proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off;",
}

HAPROXY = """
global
    maxconn {connections}
    no strict-limits
    nbthread 1
    {pipes}
defaults
    mode http
    no log
    option http-keep-alive
    http-reuse always
    timeout client 300s
    timeout server 300s
    timeout tunnel 300s
    timeout connect 5s
    timeout http-keep-alive 300s
    maxconn {connections}
frontend front
    bind 127.0.0.1:{port} backlog 4096 {bind}
    default_backend back
backend back
    {options}
    server one 127.0.0.1:{backend} {server}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A started program with a port, on one core."""

    def __init__(self, name, command, port, core=GATEWAY_CORE, directory=None, wait=30.0):
        self.name, self.port, self.directory = name, port, directory
        output = open(pathlib.Path(directory) / "output.txt", "wb") if directory else subprocess.DEVNULL
        self.process = subprocess.Popen(["taskset", "-c", core, *command], stdin=subprocess.DEVNULL, stdout=output,
                                        stderr=output, cwd=directory)
        deadline = time.monotonic() + wait
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.output()[-2000:]
                self.stop()
                raise RuntimeError(f"{name} did not start: {said}")
            time.sleep(0.001)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return (pathlib.Path(self.directory) / "output.txt").read_text(errors="replace") if self.directory else ""

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


def start_backend():
    port = free_port()
    return Program("backend", [str(BUILT / "backend"), str(port)], port, core=LOAD_CORE)


def start_epoll_proxy(backend):
    port = free_port()
    return Program("epoll proxy", [str(BUILT / "epoll_proxy"), str(port), str(backend.port)], port)


def start_h2_backend(grpc=False):
    port = free_port()
    return Program("h2 backend", [str(BUILT / "h2_backend"), str(port), *(["--grpc"] if grpc else [])], port, core=LOAD_CORE)


def start_streams_backend():
    port = free_port()
    return Program("backend", [str(BUILT / "streams_backend"), str(port)], port, core=LOAD_CORE)


# How clients come: CLEAR is HTTP/1.1, H2C the same port for HTTP/2 with prior knowledge, TLS is 1.3 with both by ALPN.
CLEAR, H2C, TLS = "clear", "h2c", "tls"


def start_nginx(backend, log=False, front=CLEAR, kind="http", name="nginx"):
    """`kind` is what the backend is spoken to for: a key of NGINX_LOCATIONS."""
    port, directory = free_port(), tempfile.mkdtemp(prefix="bench-nginx-")
    certificate_file, key_file, _ = certificate()
    text = NGINX.format(directory=directory, port=port, backend=backend.port,
                        log=f"{directory}/access.log line buffer=64k" if log else "off",
                        listen={CLEAR: "", H2C: "http2", TLS: "ssl http2"}[front], location=NGINX_LOCATIONS[kind],
                        tls=f"ssl_certificate {certificate_file}; ssl_certificate_key {key_file}; ssl_protocols TLSv1.3;"
                        if front == TLS else "")
    if os.getuid() == 0:
        text = "user root;" + text
    file = pathlib.Path(directory) / "nginx.conf"
    file.write_text(text)
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    return Program(name, [binary, "-p", directory, "-c", str(file), "-e", f"{directory}/error.log"], port, directory=directory)


def start_haproxy(backend, splice=False, front=CLEAR, upstream_h2=False, connections=9000, no_delay=False, name="haproxy"):
    """`splice` lets the kernel move large bodies, which is HAProxy's own best for them; `no_delay` is what its manual advises for
    events."""
    port, directory = free_port(), tempfile.mkdtemp(prefix="bench-haproxy-")
    file = pathlib.Path(directory) / "haproxy.cfg"
    options = (["option splice-response"] if splice else []) + (["option http-no-delay"] if no_delay else [])
    file.write_text(HAPROXY.format(port=port, backend=backend.port, connections=4000 if splice else connections,
                                   pipes="maxpipes 1000" if splice else "", options="\n    ".join(options),
                                   bind={CLEAR: "", H2C: "proto h2",
                                         TLS: f"ssl crt {certificate()[2]} alpn h2,http/1.1 ssl-min-ver TLSv1.3"}[front],
                                   server="proto h2" if upstream_h2 else ""))
    binary = shutil.which("haproxy") or "/usr/sbin/haproxy"
    return Program("haproxy splice" if splice else name, [binary, "-db", "-f", str(file)], port, directory=directory)


# A TLS client that asks for no proof of who answers.
BELIEVING = ssl.create_default_context()
BELIEVING.check_hostname, BELIEVING.verify_mode = False, ssl.CERT_NONE


def sluice_is_built():
    return os.access(SLUICE, os.X_OK)


class Sluice(Program):
    """Sluice with a configuration text; `admin_port` has its metrics. With `tls` its listener speaks that alone."""

    def __init__(self, config, name="sluice", core=GATEWAY_CORE, wait=120.0, tls=False):
        directory = tempfile.mkdtemp(prefix="bench-sluice-")
        self.tls = tls
        self.admin_port, port = free_port(), free_port()
        self.file = pathlib.Path(directory) / "sluice.yaml"
        self.control = pathlib.Path(directory) / "control.sock"
        self.write(config, port)
        super().__init__(name, [SLUICE, "run", "--config", str(self.file), "--control", str(self.control)], port, core=core,
                         directory=directory, wait=wait)

    def write(self, config, port=None):
        certificate_file, key_file, _ = certificate()
        tls = (f", tls: {{ certificates: [{{ certificate: \"{certificate_file}\", key: \"{key_file}\" }}], minVersion: \"1.3\" }}"
               if self.tls else "")
        self.file.write_text(f"listeners: [{{ address: \"127.0.0.1:{port or self.port}\"{tls} }}]\n"
                             f"admin: {{ address: \"127.0.0.1:{self.admin_port}\" }}\n{config}")

    def answers(self):
        """Not just the socket, which the master opens first: an answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(1)
                if self.tls:
                    probe = BELIEVING.wrap_socket(probe)
                probe.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return probe.recv(16).startswith(b"HTTP/1.1 ")
        except OSError:
            return False


# Sluice's configurations

def sluice_config(backend, routes=None, workers=1, log="off", services=None, extra=""):
    """One service, one route that takes everything, nothing else: what the peers do."""
    routes = routes or ["{ name: all, path: \"/*\", serviceId: backend, stripPrefix: false }"]
    services = services or [f"{{ name: backend, instances: [\"127.0.0.1:{backend.port}\"] }}"]
    return (f"workers: {workers}\naccessLog: {{ path: {log} }}\n{extra}services:\n" + "".join(f"  - {one}\n" for one in services)
            + "routes:\n" + "".join(f"  - {one}\n" for one in routes))


POLICIES = [
    "{ type: add_header, name: X-Env, value: bench }",
    "{ type: set_header, name: X-Path, value: \"${path.rest}\" }",
    "{ type: remove_header, name: X-Debug }",
    "{ type: add_header, name: X-Served-By, value: sluice, on: response }",
    "{ type: remove_header, name: X-Powered-By, on: response }",
    "{ type: set_header, name: Cache-Control, value: no-store, on: response }",
]


def sluice_config_with_policies(backend):
    """Six header filters and a JSON access log; the request id is built in."""
    route = ("{ name: all, path: \"/{rest}\", serviceId: backend, stripPrefix: false, filters: [" + ", ".join(POLICIES) + "] }")
    return sluice_config(backend, [route], log="access.log")


def many_routes(count):
    """`count` routes: 1 % regexes with distinct prefixes, 9 % templates, the rest literal. All of one service."""
    routes = ["{ name: first, path: \"/first/exact\", serviceId: backend, stripPrefix: false }"]
    for i in range(1, count - 1):
        if i % 100 == 1:
            path = f"~/regex{i}/(?<id>[0-9]+)"
        elif i % 11 == 2:
            path = f"/template{i}/{{id}}/items/{{item}}"
        else:
            path = f"/group{i % 97}/service{i % 991}/item{i}"
        routes.append(f"{{ name: r{i}, path: \"{path}\", serviceId: backend, stripPrefix: false }}")
    return routes + ["{ name: last, path: \"/zzz/last\", serviceId: backend, stripPrefix: false }"]


def many_route_paths(count):
    """A path for each place a request may end: first, last, with parameters, by regex."""
    template = max(i for i in range(1, count - 1) if i % 100 != 1 and i % 11 == 2)
    regex = max(i for i in range(1, count - 1) if i % 100 == 1)
    return {"first": "/first/exact", "last": "/zzz/last", "with parameters": f"/template{template}/42/items/7", "regex": f"/regex{regex}/42"}


def routes_by_header(count):
    return [f"{{ name: t{i}, path: \"/tenant\", headers: {{ X-Tenant: \"tenant{i}\" }}, serviceId: backend, stripPrefix: false }}"
            for i in range(count)]


def prefixless_regexes(count):
    return [f"{{ name: x{i}, path: \"~.*/kind{i}/(?<id>[0-9]+)\", serviceId: backend, stripPrefix: false }}" for i in range(count)]
