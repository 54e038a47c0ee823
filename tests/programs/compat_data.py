"""The matrix: databases, stores, queues, names."""

import glob
import re

from compat import case, contains, equal, lacks

POSTGRES = (glob.glob("/usr/lib/postgresql/*/bin") or ["/nowhere"])[-1]


@case("redis-server", "redis-cli", "redis-benchmark", packages="redis-server redis-tools")
def redis(t):
    """redis with 2 I/O threads; redis-cli, pipe, subscribe; redis-benchmark; BGSAVE forks."""
    t.serve("store", "redis-server", "--port", "6379", "--save", "", "--bind", "*",
            "--protected-mode", "no", "--io-threads", "2", "--dir", t.dir, port=6379)
    cli = ("redis-cli", "-h", t.at("store"))
    t.out("app", *cli, input="".join(f"set key{i} {i}\n" for i in range(5000)))
    equal(t.out("app", *cli, "dbsize"), "5000\n")
    blob = t.data[:1_000_000]
    t.run("app", *cli, "-x", "set", "blob", input=blob)
    t.is_data(t.run("app", *cli, "--raw", "get", "blob", text=False).stdout[:-1], blob)
    got = t.out("app", "redis-benchmark", "-h", t.at("store"), "-c", "50", "-n", "10000", "-t",
                "get,set,lpush", "-P", "4", "--csv")
    equal(len(re.findall(r'^"(?:GET|SET|LPUSH)"', got, re.M)), 3)
    contains(t.out("app", *cli, "bgsave"), "started")
    equal(t.out("app", *cli, "ping"), "PONG\n")


@case("redis-server", "redis-cli", packages="redis-server")
def redis_replica(t):
    """redis with a replica: a full synchronization from a forked child, then a stream."""
    common = ("--save", "", "--bind", "*", "--protected-mode", "no",
              "--repl-diskless-sync-delay", "0", "--dir", t.dir)
    t.serve("store", "redis-server", "--port", "6379", *common, port=6379)
    cli = ("redis-cli", "-h", t.at("store"))
    t.run("app", *cli, "-x", "set", "blob", input=t.data)
    t.serve("copy", "redis-server", "--port", "6380", "--replicaof", t.at("store"), "6379",
            *common, port=6380)
    copy = ("redis-cli", "-h", t.at("copy"), "-p", "6380")
    t.until("replica to be in sync", "app", "sh", "-c",
            f"redis-cli -h {t.at('copy')} -p 6380 info replication | "
            "grep -q master_link_status:up")
    t.is_data(t.run("app", *copy, "--raw", "get", "blob", text=False).stdout[:-1])
    t.run("app", *cli, "set", "k", "v")
    equal(t.out("app", *cli, "wait", "1", "5000"), "1\n")
    equal(t.out("app", *copy, "get", "k"), "v\n")


MEMCACHED_CLIENT = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 11211), 10)
f = s.makefile("rwb")
value = b"x" * 200_000
f.write(b"set k 0 0 %d\r\n" % len(value) + value + b"\r\n"); f.flush()
assert f.readline() == b"STORED\r\n"
f.write(b"get k\r\n"); f.flush()
assert f.readline().startswith(b"VALUE k 0 200000")
assert f.read(200_002) == value + b"\r\n" and f.readline() == b"END\r\n"
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(10)
u.connect((sys.argv[1], 11211))
u.send(b"\0\1\0\0\0\1\0\0version\r\n")
reply = u.recv(1500)
assert reply[:8] == b"\0\1\0\0\0\1\0\0" and reply[8:].startswith(b"VERSION"), reply
print("fine")
"""


@case("memcached", "memcaslap", "memccat", "python3", packages="memcached libmemcached-tools")
def memcached(t):
    """memcached, 4 threads, TCP and UDP; memccp, memccat, memcaslap with 32 connections."""
    user = ("-u", "nobody") if t.is_root else ()
    t.serve("cache", "memcached", *user, "-U", "11211", "-t", "4", port=11211)
    equal(t.out("app", "python3", "-c", MEMCACHED_CLIENT, t.at("cache")), "fine\n")
    t.write("item.txt", "content of an item")
    t.run("app", "memccp", f"--servers={t.at('cache')}:11211", "item.txt")
    got = t.out("app", "memccat", f"--servers={t.at('cache')}:11211", "item.txt")
    contains(got, "content of an item")
    got = t.out("app", "memcaslap", "-s", f"{t.at('cache')}:11211", "-T", "2", "-c", "32", "-x",
                "20000")
    contains(got, "cmd_get")
    equal(re.search(r"get_misses: (\d+)", got)[1], "0")


@case(f"{POSTGRES}/initdb", "psql", "pgbench" if POSTGRES == "/nowhere" else
      f"{POSTGRES}/pgbench", packages="postgresql", slow=True)
def postgresql(t):
    """PostgreSQL: initdb, a backend per connection by fork; psql, COPY, pgbench -c 8 -j 2."""
    user = "postgres"
    base = t.folder("pg", user, 0o700)
    as_user = t.as_user(user)
    run_dir = t.folder("pgrun", user)
    t.run("db", *as_user, f"{POSTGRES}/initdb", "-D", base / "data", "-A", "trust", "-U", "pg",
          "-N", cwd=base if not t.is_root else "/", timeout=60)
    with_host = "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n"
    with open(base / "data" / "pg_hba.conf", "a", encoding="ascii") as rules:
        rules.write(with_host)
    server = t.serve("db", *as_user, f"{POSTGRES}/postgres", "-D", base / "data", "-h", "*",
                     "-k", run_dir, "-c", "fsync=off", port=5432, cwd="/")
    url = f"postgresql://pg@{t.at('db')}/postgres"
    t.until("PostgreSQL to accept", "app", f"{POSTGRES}/pg_isready", "-d", url)
    equal(t.out("app", "psql", "-XAt", url, "-c", "select sum(n) from generate_series(1,100) n"),
          "5050\n")
    text = "".join(f"{i}\t{'x' * (i % 90)}\n" for i in range(20000))
    t.run("app", "psql", "-X", url, "-c", "create table t (id int, s text)")
    t.run("app", "psql", "-X", url, "-c", "copy t from stdin", input=text)
    t.is_data(t.out("app", "psql", "-X", url, "-c", "copy (select * from t order by id)"
                    " to stdout").encode(), text.encode())
    t.run("app", f"{POSTGRES}/pgbench", "-i", "-q", url, timeout=60)
    got = t.out("app", f"{POSTGRES}/pgbench", "-c", "8", "-j", "2", "-t", "100", url, timeout=60)
    contains(got, "800/800", "number of failed transactions: 0 ")
    import signal
    t.stop(server, signal.SIGINT)


@case("mariadbd", "mariadb-install-db", "mariadb", "mariadb-slap", packages="mariadb-server",
      slow=True)
def mariadb(t):
    """MariaDB: install, a thread per connection; mariadb with a large value, mariadb-slap."""
    user = t.user
    base = t.folder("maria")
    t.run("db", "mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={base}/data",
          "--auth-root-authentication-method=normal", "--skip-test-db", timeout=90)
    t.serve("db", "mariadbd", "--no-defaults", f"--user={user}", f"--datadir={base}/data",
            f"--socket={base}/sock", f"--pid-file={base}/pid", "--bind-address=*",
            "--skip-name-resolve", "--port=3306", port=3306)
    local = ("mariadb", "--no-defaults", f"--socket={base}/sock", "-uroot", "-e")
    t.until("MariaDB to answer", "db", *local, "select 1")
    t.run("db", *local, "create user app@'%' identified by 'secret'; grant all on *.* to app@'%'")
    client = ("mariadb", "--no-defaults", "-h", t.at("db"), "-uapp", "-psecret", "--protocol=tcp")
    got = t.out("app", *client, "-N", "-e",
                "create database x; create table x.t (b longtext); insert into x.t values "
                "(repeat('0123456789', 300000)); select md5(b), length(b) from x.t")
    import hashlib
    equal(got.split(), [hashlib.md5(b"0123456789" * 300_000).hexdigest(), "3000000"])
    equal(len(t.out("app", *client, "-N", "--max-allowed-packet=64M", "-e",
                    "select b from x.t").strip()), 3_000_000)
    t.run("app", "mariadb-slap", "--no-defaults", "-h", t.at("db"), "-uapp", "-psecret",
          "--protocol=tcp", "--concurrency=8", "--iterations=1", "--auto-generate-sql",
          "--number-of-queries=400", timeout=60)


@case("mosquitto", "mosquitto_pub", "mosquitto_sub", packages="mosquitto mosquitto-clients")
def mosquitto(t):
    """mosquitto; a subscriber that waits for 200 messages, publishers with QoS 0, 1 and 2."""
    user = f"user {t.user}\n"
    conf = t.write("mosquitto.conf", f"{user}listener 1883\nallow_anonymous true\n"
                   "max_queued_messages 0\n")
    t.serve("hub", "mosquitto", "-c", conf, port=1883)
    at = ("-h", t.at("hub"))
    out = t.dir / "messages"
    t.run("app", "mosquitto_pub", *at, "-t", "ready", "-r", "-m", "ready")
    with open(out, "wb") as sink:
        subscriber = t.start("app", "mosquitto_sub", *at, "-t", "t", "-t", "ready", "-q", "2",
                             "-C", "201", stdout=sink)
    from foyer_test import wait_until
    wait_until(out.read_text, "the retained message")
    for qos in ("0", "1", "2"):
        n = 100 if qos == "2" else 50
        t.run("visitor", "mosquitto_pub", *at, "-t", "t", "-q", qos, "-l",
              input="".join(f"{qos}-{i}\n" for i in range(n)))
    wait_until(lambda: subscriber.poll() is not None, "200 messages")
    want = ["ready"] + [f"{q}-{i}" for q, n in (("0", 50), ("1", 50), ("2", 100))
                        for i in range(n)]
    equal(out.read_text().split(), want)


@case("beanstalkd", "python3", packages="beanstalkd")
def beanstalkd(t):
    """beanstalkd; a python client that puts, reserves and deletes 500 jobs in batches."""
    t.serve("queue", "beanstalkd", "-p", "11300", port=11300)
    got = t.out("app", "python3", "-c", r"""
import socket, sys
f = socket.create_connection((sys.argv[1], 11300), 10).makefile("rwb")
for i in range(500):
    body = b"job %d " % i + b"x" * (i * 7)
    f.write(b"put 0 0 60 %d\r\n" % len(body) + body + b"\r\n")
f.flush()
for i in range(500):
    assert f.readline().startswith(b"INSERTED")
for i in range(500):
    f.write(b"reserve\r\n"); f.flush()
    word, job, size = f.readline().split()
    assert f.read(int(size) + 2) == b"job %d " % i + b"x" * (i * 7) + b"\r\n"
    f.write(b"delete %s\r\n" % job); f.flush()
    assert f.readline() == b"DELETED\r\n"
print("fine")
""", t.at("queue"))
    equal(got, "fine\n")


@case("dnsmasq", "dig", packages="dnsmasq-base bind9-dnsutils",
      note="with --listen-address: without, dnsmasq asks netlink for the interfaces, which are the "
      "kernel's, and closes TCP connections to others")
def dnsmasq(t):
    """dnsmasq; dig over UDP and TCP, A, AAAA, a TXT answer that is truncated over UDP."""
    texts = [f"--txt-record=big.test,{'t' * 200}{i}" for i in range(20)]
    serve = ('address=$(getent ahostsv4 "$0" | head -1 | cut -d" " -f1); '
             'exec dnsmasq "$@" --listen-address="${address:-$0}"')
    t.serve("names", "sh", "-c", serve, t.at("names"), "-k", "--bind-interfaces", "-C", "/dev/null", "--no-resolv", "--no-hosts", "-u",
            t.user, "-x", t.dir / "dnsmasq.pid", "--edns-packet-max=1232",
            "--address=/web.test/10.9.8.7", "--address=/web.test/fd00::7", *texts,
            port=53, protocol="udp")
    at = f"@{server_address(t, 'names')}"
    for how in ("+notcp", "+tcp"):
        equal(t.out("app", "dig", at, "+short", how, "web.test", "A"), "10.9.8.7\n")
        equal(t.out("app", "dig", at, "+short", how, "web.test", "AAAA"), "fd00::7\n")
    contains(t.out("app", "dig", at, "+ignore", "big.test", "TXT"), " tc ")
    equal(t.out("app", "dig", at, "+short", "big.test", "TXT").count("tttt") >= 20, True)


def server_address(t, host):
    return t.building.address(host) if t.on == "foyer" else "127.0.0.1"


ZONE = """$TTL 60
@ IN SOA ns.test. admin.test. 1 3600 600 86400 60
@ IN NS ns
ns IN A 10.0.0.1
www IN A 10.9.8.7
"""


@case("named", "dig", packages="bind9 bind9-dnsutils")
def bind9(t):
    """named (libuv, a thread per core); dig over UDP and TCP, a zone transfer of 3,000 names."""
    names = "".join(f"h{i} IN A 10.1.{i // 250}.{i % 250}\n" for i in range(3000))
    t.write("zone", ZONE + names)
    conf = t.write("named.conf", f"""options {{ directory "{t.dir}"; pid-file "{t.dir}/named.pid";
session-keyfile "{t.dir}/key"; recursion no; dnssec-validation no; listen-on-v6 {{ any; }};
listen-on {{ any; }}; allow-transfer {{ any; }}; allow-query {{ any; }}; }};
controls {{ }};
zone "test" {{ type primary; file "{t.dir}/zone"; }};
""")
    t.serve("names", "named", "-g", "-c", conf, "-n", "2", port=53, protocol="udp")
    at = f"@{server_address(t, 'names')}"
    t.until("named to answer", "app", "dig", at, "+time=2", "+tries=1", "www.test")
    for how in ("+notcp", "+tcp"):
        equal(t.out("app", "dig", at, "+short", how, "www.test"), "10.9.8.7\n")
    got = t.out("app", "dig", at, "+tcp", "AXFR", "test")
    equal(len(re.findall(r"^h\d+\.test\.", got, re.M)), 3000)
    batch = t.write("batch", "".join(f"h{i}.test\n" for i in range(300)))
    equal(len(t.out("app", "dig", at, "+short", "-f", batch).split()), 300)
    lacks(got, "failed")
