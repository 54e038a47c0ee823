"""The matrix: web servers, proxies, their clients and load generators."""

import os
import re

from compat import case, contains, equal, lacks
from foyer_test import nginx_conf


def serve_nginx(t, host="web", port=80, **options):
    conf = nginx_conf(t.dir, name=f"nginx-{host}-{port}", port=port, root=t.site, **options)
    return t.serve(host, "nginx", "-c", conf, port=port)


def certificate(t):
    t.run("ca", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
          "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=web",
          "-keyout", t.dir / "key.pem", "-out", t.dir / "cert.pem")
    for name in ("key.pem", "cert.pem"):
        (t.dir / name).chmod(0o644)
    return t.dir / "cert.pem", t.dir / "key.pem"


@case("nginx", "curl", packages="nginx-light curl")
def nginx_curl(t):
    """nginx, two workers; curl: one file, 40 parallel, range, keep-alive, upload refused."""
    serve_nginx(t)
    url = f"http://{t.at('web')}"
    t.is_data(t.out("visitor", "curl", "-sS", f"{url}/file.bin", text=False))
    t.run("visitor", "curl", "-sSf", "-Z", "--parallel-max", "20",
          *[a for i in range(40) for a in (f"{url}/file.bin", "-o", t.dir / f"got{i}")])
    for i in range(40):
        t.is_data(t.dir / f"got{i}")
    got = t.out("visitor", "curl", "-sS", "-r", "1000000-1999999", f"{url}/file.bin", text=False)
    t.is_data(got, t.data[1_000_000:2_000_000])
    got = t.out("visitor", "curl", "-sS", *[f"{url}/index.html"] * 30, "-w", "%{num_connects}\n")
    equal(got.count("hello from foyer"), 30)
    equal(re.findall(r"^\d$", got, re.M).count("1"), 1)
    got = t.out("visitor", "curl", "-sS", "-T", t.site / "file.bin", f"{url}/put", "-w",
                "%{http_code}", "-o", os.devnull)
    contains(got, "4")


@case("nginx", "wrk", packages="nginx-light wrk")
def nginx_wrk(t):
    """nginx and wrk: 64 keep-alive connections for 2 s; no socket error."""
    serve_nginx(t)
    got = t.out("visitor", "wrk", "-t2", "-c64", "-d2s", f"http://{t.at('web')}/index.html")
    lacks(got, "Socket errors", "Non-2xx")
    contains(got, "Requests/sec")


@case("nginx", "openssl", "curl", packages="nginx-light openssl")
def nginx_tls(t):
    """nginx with TLS and HTTP/2; curl and openssl s_client."""
    cert, key = certificate(t)
    serve_nginx(t, extra=f"listen 443 ssl http2; ssl_certificate {cert}; "
                         f"ssl_certificate_key {key};")
    got = t.out("visitor", "curl", "-sSk", "--http2", f"https://{t.at('web')}/file.bin",
                text=False)
    t.is_data(got)
    got = t.out("visitor", "openssl", "s_client", "-quiet", "-connect", f"{t.at('web')}:443",
                input="GET /index.html HTTP/1.0\r\n\r\n")
    contains(got, "hello from foyer")


@case("nginx", "wget", "aria2c", packages="wget aria2",
      note="aria2 with --async-dns=false: its resolver c-ares asks DNS servers itself, and foyer "
      "has none")
def wget_aria2(t):
    """nginx; wget with a recursive download, aria2 with 8 connections to one file."""
    serve_nginx(t, extra="autoindex on;")
    (t.site / "index.html").unlink()
    t.run("visitor", "wget", "-q", "-r", "-nH", "-P", t.dir / "mirror", f"http://{t.at('web')}/")
    t.is_data(t.dir / "mirror" / "file.bin")
    t.run("visitor", "aria2c", "-q", "--no-conf", "-x8", "-s8", "-k", "1M", "--enable-dht=false",
          "--async-dns=false",
          "-d", t.dir / "aria", f"http://{t.at('web')}/file.bin")
    t.is_data(t.dir / "aria" / "file.bin")


def apache_conf(t, mpm):
    user = "User www-data\nGroup www-data\n" if t.is_root else ""
    return t.write("apache.conf", f"""ServerRoot {t.dir}
ServerName web
Listen 80
PidFile {t.dir}/apache.pid
ErrorLog {t.dir}/apache-error.out
Mutex file:{t.dir} default
ScoreBoardFile {t.dir}/scoreboard
LoadModule mpm_{mpm}_module /usr/lib/apache2/modules/mod_mpm_{mpm}.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
{user}StartServers 2
DocumentRoot {t.site}
<Directory {t.site}>
Require all granted
</Directory>
""")


def apache(t, mpm):
    server = t.serve("web", "apache2", "-DFOREGROUND", "-f", apache_conf(t, mpm), port=80)
    url = f"http://{t.at('web')}"
    t.is_data(t.out("visitor", "curl", "-sS", f"{url}/file.bin", text=False))
    for keep in ((), ("-k",)):
        got = t.out("visitor", "ab", "-q", "-n", "1000", "-c", "20", *keep, f"{url}/index.html")
        contains(got, "Complete requests:      1000")
        equal(re.search(r"Failed requests:\s+(\d+)", got)[1], "0")
    return server


@case("apache2", "ab", "curl", packages="apache2 apache2-utils")
def apache_event_ab(t):
    """Apache, event MPM (threads, epoll); ab with and without keep-alive; graceful restart."""
    server = apache(t, "event")
    t.run("web", "sh", "-c", f"kill -USR1 {server.pid}")
    got = t.out("visitor", "curl", "-sS", "--retry", "3", "--retry-connrefused",
                f"http://{t.at('web')}/index.html")
    equal(got, "hello from foyer\n")


@case("apache2", "ab", "curl", packages="apache2 apache2-utils")
def apache_prefork_ab(t):
    """Apache, prefork MPM (processes sharing the listener); ab, 20 clients."""
    apache(t, "prefork")


@case("lighttpd", "curl", packages="lighttpd")
def lighttpd_curl(t):
    """lighttpd, two workers; curl: file, upload to a CGI through a socket pair."""
    cgi = t.write("site/sum.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
                  "sha256sum\n", 0o755)
    conf = t.write("lighttpd.conf", f"""server.document-root = "{t.site}"
server.port = 80
server.max-worker = 2
server.upload-dirs = ( "{t.dir}" )
server.modules = ( "mod_cgi" )
cgi.assign = ( ".cgi" => "" )
index-file.names = ( "index.html" )
""")
    t.serve("web", "lighttpd", "-D", "-f", conf, port=80)
    url = f"http://{t.at('web')}"
    t.is_data(t.out("visitor", "curl", "-sS", f"{url}/file.bin", text=False))
    got = t.out("visitor", "curl", "-sS", "--data-binary", f"@{t.site}/file.bin",
                f"{url}/{cgi.name}")
    import hashlib
    equal(got.split()[0], hashlib.sha256(t.data).hexdigest())


@case("haproxy", "nginx", "curl", "wrk", packages="haproxy")
def haproxy_nginx(t):
    """haproxy, master-worker and two threads, before two nginx; HTTP and TCP mode; curl, wrk."""
    for n, port in ((1, 8081), (2, 8082)):
        serve_nginx(t, f"web{n}", port)
    conf = t.write("haproxy.cfg", f"""global
    nbthread 2
    stats socket {t.dir}/haproxy.sock
defaults
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend http
    mode http
    bind :80
    default_backend http
backend http
    mode http
    server a {t.at('web1')}:8081 check inter 200
    server b {t.at('web2')}:8082 check inter 200
listen tcp
    mode tcp
    bind :81
    server a {t.at('web1')}:8081
""")
    t.serve("edge", "haproxy", "-W", "-f", conf, port=80)
    for port in (80, 81):
        url = f"http://{t.at('edge')}:{port}"
        t.is_data(t.out("visitor", "curl", "-sS", f"{url}/file.bin", text=False))
        got = t.out("visitor", "wrk", "-t2", "-c32", "-d1s", f"{url}/index.html")
        lacks(got, "Socket errors", "Non-2xx")


@case("squid", "nginx", "curl", packages="squid", slow=True,
      note="with -N: squid as root executes its workers with a real user that is not the effective "
      "one, and then ld.so ignores LD_PRELOAD; by address: it asks DNS servers itself")
def squid_nginx(t):
    """squid as a caching proxy before nginx; curl, three times the same file."""
    serve_nginx(t)
    web = t.building.address("web") if t.on == "foyer" else "127.0.0.1"
    folder = t.folder("squid", "proxy")
    conf = t.write("squid.conf", f"""http_port 3128
http_access allow all
pid_filename {folder}/pid
cache_log {folder}/cache.log
access_log stdio:{folder}/access.log
coredump_dir {folder}
cache_mem 16 MB
pinger_enable off
visible_hostname edge
shutdown_lifetime 0 seconds
""")
    t.serve("edge", "squid", "-N", "-f", conf, port=3128)
    for _ in range(3):
        got = t.out("visitor", "curl", "-sS", "--noproxy", "", "-x",
                    f"http://{t.at('edge')}:3128", f"http://{web}/file.bin", text=False)
        t.is_data(got)


@case("tinyproxy", "nginx", "curl", packages="tinyproxy-bin")
def tinyproxy_nginx(t):
    """tinyproxy before nginx; curl by GET and by CONNECT."""
    serve_nginx(t)
    conf = t.write("tinyproxy.conf", "Port 8888\nTimeout 20\nMaxClients 20\n")
    t.serve("edge", "tinyproxy", "-d", "-c", conf, port=8888)
    for tunnel in ((), ("-p",)):
        got = t.out("visitor", "curl", "-sS", "--noproxy", "", *tunnel, "-x",
                    f"http://{t.at('edge')}:8888", f"http://{t.at('web')}/file.bin", text=False)
        t.is_data(got)


@case("stunnel4", "nginx", "openssl", "curl", packages="stunnel4")
def stunnel_nginx(t):
    """stunnel (threads) as TLS end before nginx; curl."""
    cert, key = certificate(t)
    serve_nginx(t)
    key.chmod(0o600)
    conf = t.write("stunnel.conf", f"""foreground = yes
pid = {t.dir}/stunnel.pid
[https]
accept = 443
connect = {t.at('web')}:80
cert = {cert}
key = {key}
""")
    t.serve("edge", "stunnel4", conf, port=443)
    t.is_data(t.out("visitor", "curl", "-sSk", f"https://{t.at('edge')}/file.bin", text=False))


@case("busybox", packages="busybox")
def busybox_httpd_wget(t):
    """busybox httpd in the foreground, a process per connection; busybox wget and nc."""
    t.serve("web", "busybox", "httpd", "-f", "-p", "80", "-h", t.site, port=80)
    t.run("visitor", "busybox", "wget", "-q", "-O", t.dir / "got",
          f"http://{t.address('web')}/file.bin")
    t.is_data(t.dir / "got")
    got = t.out("visitor", "busybox", "nc", t.address("web"), "80",
                input="GET /index.html HTTP/1.0\r\n\r\n")
    contains(got, "hello from foyer")


@case("inetd", "busybox", "curl", packages="openbsd-inetd busybox")
def inetd_busybox_httpd(t):
    """openbsd-inetd: busybox httpd -i and cat with the connection as stdin and stdout."""
    conf = t.write("inetd.conf", f"""8080 stream tcp nowait {t.user} /usr/bin/busybox busybox \
httpd -i -h {t.site}
7777 stream tcp nowait {t.user} /usr/bin/cat cat
""")
    t.serve("web", "inetd", "-d", "-i", conf, port=8080)
    t.is_data(t.out("visitor", "curl", "-sS", f"http://{t.at('web')}:8080/file.bin", text=False))
    got = t.out("visitor", "nc.openbsd", "-N", t.at("web"), "7777", input=t.data)
    t.is_data(got)


@case("caddy", packages="caddy")
def caddy_go(t):
    """caddy, a Go program, under supervision on foyer: a file, fetched by curl."""
    t.serve("web", "caddy", "file-server", "--listen", ":8080", "--root", t.site, port=8080)
    t.is_data(t.out("visitor", "curl", "-sS", f"http://{t.at('web')}:8080/file.bin", text=False))


@case("nats-server", packages="nats-server")
def nats_go(t):
    """nats-server, a Go program, under supervision on foyer: subscribe and publish through nc."""
    t.serve("web", "nats-server", "-a", "0.0.0.0", "-p", "4222", port=4222)
    said = "SUB news 1\r\nPUB news 5\r\nhello\r\nPING\r\n"
    got = t.out("visitor", "nc.openbsd", "-w", "2", t.at("web"), "4222", input=said)
    contains(got, "MSG news 1 5", "hello", "PONG")


@case("ldconfig", packages="libc-bin")
def ldconfig_static(t):
    """ldconfig, statically linked: runs as elsewhere."""
    contains(t.out("web", "ldconfig", "--version"), "ldconfig")
