"""The matrix: languages' runtimes and their network libraries."""

from compat import case, equal

PY_ASYNC = r"""
import asyncio, sys
async def echo(r, w):
    while data := await r.read(65536):
        w.write(data)
        await w.drain()
    w.write_eof()
    w.close()
class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, address): self.transport.sendto(data[::-1], address)
async def main():
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Datagrams, local_addr=("0.0.0.0", 7))
    s = await asyncio.start_server(echo, "0.0.0.0", 7)
    await s.serve_forever()
asyncio.run(main())
"""

PY_ASYNC_CLIENT = r"""
import asyncio, os, sys
async def one(n):
    r, w = await asyncio.open_connection(sys.argv[1], 7)
    data = os.urandom(100_000 + n)
    async def send():
        for i in range(0, len(data), 10_000):
            w.write(data[i:i + 10_000])
            await w.drain()
        w.write_eof()
    task = asyncio.create_task(send())
    assert await r.read(-1) == data
    await task
    w.close()
class Datagrams(asyncio.DatagramProtocol):
    def __init__(self): self.got = asyncio.get_running_loop().create_future()
    def datagram_received(self, data, address): self.got.set_result(data)
async def main():
    await asyncio.gather(*(one(n) for n in range(50)))
    loop = asyncio.get_running_loop()
    t, p = await loop.create_datagram_endpoint(Datagrams, remote_addr=(sys.argv[1], 7))
    t.sendto(b"datagram")
    assert await asyncio.wait_for(p.got, 10) == b"margatad"
    try:
        await asyncio.open_connection(sys.argv[1], 8)
    except OSError as error:  # of one address, or of each
        assert "[Errno 111]" in str(error), error
        print("fine")
asyncio.run(asyncio.wait_for(main(), 20))
"""


@case("python3", packages="python3")
def python_asyncio(t):
    """asyncio streams and datagrams, 50 connections at once with half close; refused connect."""
    t.serve("py", "python3", "-c", PY_ASYNC, port=7)
    equal(t.out("app", "python3", "-c", PY_ASYNC_CLIENT, t.at("py")), "fine\n")


PY_SERVERS = r"""
import socketserver, sys, os
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d " % os.getpid() + line)
class Upper(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data.upper(), self.client_address)
kind = {"thread": socketserver.ThreadingTCPServer, "fork": socketserver.ForkingTCPServer,
        "udp": socketserver.ThreadingUDPServer, "udpfork": socketserver.ForkingUDPServer}
server = kind[sys.argv[1]]
server.allow_reuse_address = True
with server(("", int(sys.argv[2])), Upper if "udp" in sys.argv[1] else Echo) as s:
    s.serve_forever()
"""

PY_SERVERS_CLIENT = r"""
import socket, sys, threading
host, pids, failed = sys.argv[1], {1: set(), 2: set()}, []
def talk(n):
    try:
        s = socket.create_connection((host, n), 10)
        f = s.makefile("rwb")
        for i in range(50):
            f.write(b"line %d\n" % i); f.flush()
            pid, rest = f.readline().split(b" ", 1)
            assert rest == b"line %d\n" % i
        pids[n].add(pid)
    except Exception as e:
        failed.append(e)
threads = [threading.Thread(target=talk, args=(n,)) for n in (1, 2) for _ in range(10)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not failed, failed
assert len(pids[1]) == 1 and len(pids[2]) == 10, pids
for port in (3, 4):
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.settimeout(10)
    for i in range(10):
        u.sendto(b"datagram %d" % i, (host, port))
        assert u.recv(100) == b"DATAGRAM %d" % i
print("fine")
"""


@case("python3", packages="python3")
def python_socketserver(t):
    """socketserver: threading and forking, TCP and UDP; 20 client threads."""
    for port, kind in ((1, "thread"), (2, "fork")):
        t.serve("py", "python3", "-c", PY_SERVERS, kind, port, port=port)
    for port, kind in ((3, "udp"), (4, "udpfork")):
        t.serve("py", "python3", "-c", PY_SERVERS, kind, port, port=port, protocol="udp")
    equal(t.out("app", "python3", "-c", PY_SERVERS_CLIENT, t.at("py")), "fine\n")


@case("python3", packages="python3")
def python_multiprocessing(t):
    """multiprocessing: Listener and Client, a manager, descriptors passed to a child."""
    t.serve("py", "python3", t.write("server.py", r"""
import multiprocessing as mp, socket, threading
from multiprocessing.connection import Listener
from multiprocessing.managers import BaseManager
def child(s):
    while data := s.recv(65536):
        s.sendall(data)
    s.close()
def passer():
    mp.set_start_method("spawn", force=True)
    l = socket.create_server(("", 6003))
    while True:
        s, _ = l.accept()
        p = mp.Process(target=child, args=(s,))
        p.start()
        s.close()
def listener():
    with Listener(("0.0.0.0", 6001), authkey=b"key") as l:
        while True:
            with l.accept() as c:
                try:
                    while True:
                        c.send(sorted(c.recv()))
                except EOFError:
                    pass
if __name__ == "__main__":
    threading.Thread(target=listener, daemon=True).start()
    threading.Thread(target=passer, daemon=True).start()
    class Manager(BaseManager): pass
    store = {}
    Manager.register("store", callable=lambda: store, exposed=("get", "update", "__len__"))
    Manager(("0.0.0.0", 6002), authkey=b"key").get_server().serve_forever()
"""), port=6002)
    got = t.out("app", "python3", "-c", r"""
import socket, sys, os
from multiprocessing.connection import Client
from multiprocessing.managers import BaseManager
with Client((sys.argv[1], 6001), authkey=b"key") as c:
    for size in (1, 1000, 200_000):
        c.send(list(range(size, 0, -1)))
        assert c.recv() == list(range(1, size + 1))
class Manager(BaseManager): pass
Manager.register("store")
m = Manager((sys.argv[1], 6002), authkey=b"key")
m.connect()
m.store().update({"k": "v" * 100_000})
assert m.store().get("k") == "v" * 100_000
s = socket.create_connection((sys.argv[1], 6003), 20)
data = os.urandom(50_000)
s.sendall(data)
s.shutdown(socket.SHUT_WR)
got = b""
while part := s.recv(65536):
    got += part
assert got == data
print("fine")
""", t.at("py"))
    equal(got, "fine\n")


@case("python3", packages="python3")
def python_http(t):
    """http.server (threads) and urllib; xmlrpc; telnetlib; selectors with 200 connections."""
    t.serve("py", "python3", "-c", r"""
import functools, http.server as h, sys
class Server(h.ThreadingHTTPServer):
    request_queue_size = 200
Server(("", 80), functools.partial(h.SimpleHTTPRequestHandler, directory=sys.argv[1])
       ).serve_forever()
""", t.site, port=80)
    t.serve("py", "python3", "-c", r"""
from xmlrpc.server import SimpleXMLRPCServer
s = SimpleXMLRPCServer(("0.0.0.0", 8000), logRequests=False)
s.register_function(pow)
s.serve_forever()
""", port=8000)
    got = t.out("app", "python3", "-c", r"""
import sys, urllib.request, xmlrpc.client, selectors, socket
data = urllib.request.urlopen(f"http://{sys.argv[1]}/file.bin", timeout=20).read()
p = xmlrpc.client.ServerProxy(f"http://{sys.argv[1]}:8000")
assert [p.pow(2, n) for n in range(20)] == [2 ** n for n in range(20)]
sel = selectors.DefaultSelector()
for i in range(200):
    s = socket.socket(); s.setblocking(False)
    s.connect_ex((sys.argv[1], 80))
    sel.register(s, selectors.EVENT_WRITE, b"")
done = 0
while done < 200:
    for key, mask in sel.select(10):
        if mask & selectors.EVENT_WRITE:
            key.fileobj.send(b"GET /index.html HTTP/1.0\r\n\r\n")
            sel.modify(key.fileobj, selectors.EVENT_READ, b"")
            continue
        part = key.fileobj.recv(4096)
        if part:
            sel.modify(key.fileobj, selectors.EVENT_READ, key.data + part)
        else:
            assert key.data.endswith(b"hello from foyer\n"), key.data
            sel.unregister(key.fileobj); key.fileobj.close(); done += 1
sys.stdout.buffer.write(data)
""", t.at("py"), text=False)
    t.is_data(got)


NODE_SERVER = r"""
const http = require('http'), net = require('net'), dgram = require('dgram');
const { Worker, isMainThread } = require('worker_threads');
if (isMainThread) {
  http.createServer((q, s) => {
    const hash = require('crypto').createHash('sha256');
    q.on('data', d => hash.update(d));
    q.on('end', () => s.end(hash.digest('hex')));
  }).listen(80);
  const d = dgram.createSocket('udp4');
  d.on('message', (m, r) => d.send(m.reverse(), r.port, r.address));
  d.bind(7);
  new Worker(__filename);
} else {
  net.createServer({ allowHalfOpen: true }, s => s.pipe(s)).listen(7);
}
"""

NODE_CLIENT = r"""
const http = require('http'), net = require('net'), dgram = require('dgram');
const crypto = require('crypto'), host = process.argv[2];
const post = (agent, size) => new Promise((ok, bad) => {
  const body = crypto.randomBytes(size);
  const q = http.request({ host, port: 80, method: 'POST', agent }, s => {
    let text = '';
    s.on('data', d => text += d).on('end', () =>
      text === crypto.createHash('sha256').update(body).digest('hex') ? ok() : bad(text));
  });
  q.on('error', bad);
  q.end(body);
});
const echo = size => new Promise((ok, bad) => {
  const body = crypto.randomBytes(size), got = [];
  const s = net.connect(7, host, () => s.end(body));
  s.on('data', d => got.push(d)).on('end', () =>
    Buffer.concat(got).equals(body) ? ok() : bad('net'));
  s.on('error', bad);
});
const datagram = () => new Promise((ok, bad) => {
  const d = dgram.createSocket('udp4');
  d.on('message', m => { d.close(); String(m) === 'cba' ? ok() : bad('dgram'); });
  d.send('abc', 7, host);
});
const refused = () => new Promise((ok, bad) => {
  net.connect(9, host).on('error', e => e.code === 'ECONNREFUSED' ? ok() : bad(e));
});
(async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  await Promise.all(Array.from({ length: 60 }, (_, i) => post(agent, i * 5000)));
  await Promise.all(Array.from({ length: 30 }, (_, i) => echo(i * 30000)));
  await datagram();
  await refused();
  agent.destroy();
  console.log('fine');
})();
"""


@case("node", packages="nodejs")
def node(t):
    """node: http with keep-alive agents, net with half close in a worker thread, dgram."""
    t.serve("js", "node", t.write("server.js", NODE_SERVER), port=7)
    t.until("http of node", "app", "curl", "-sS", "-o", "/dev/null", f"http://{t.at('js')}/")
    equal(t.out("app", "node", t.write("client.js", NODE_CLIENT), t.at("js")), "fine\n")


@case("node", "curl", packages="nodejs")
def node_cluster(t):
    """node cluster: the primary accepts and passes connections to workers; and fetch."""
    t.serve("js", "node", t.write("cluster.js", r"""
const cluster = require('cluster'), http = require('http');
if (cluster.isPrimary)
  for (let i = 0; i < 3; i++) cluster.fork();
else
  http.createServer((q, s) => s.end(String(process.pid))).listen(80);
"""), port=80)
    got = t.out("app", "node", "-e", r"""
(async () => {
  const pids = new Set();
  for (let i = 0; i < 60; i++)
    pids.add(await (await fetch(process.argv[1], { headers: { connection: 'close' } })).text());
  console.log(pids.size > 1 && pids.size <= 3 ? 'fine' : [...pids]);
  process.exit(0);
})();
""", f"http://{t.at('js')}/")
    equal(got, "fine\n")


@case("ruby", packages="ruby")
def ruby(t):
    """ruby: TCPServer with threads, UDPSocket, Net::HTTP with WEBrick, a forked child."""
    t.serve("rb", "ruby", "-rsocket", "-rwebrick", "-e", r"""
u = UDPSocket.new
u.bind("0.0.0.0", 7)
Thread.new { loop { m, a = u.recvfrom(100); u.send(m.reverse, 0, a[3], a[1]) } }
w = WEBrick::HTTPServer.new(Port: 80, DocumentRoot: ARGV[0], AccessLog: [],
                            Logger: WEBrick::Log.new(File::NULL))
Thread.new { w.start }
s = TCPServer.new("0.0.0.0", 7)
loop do
  c = s.accept
  fork { s.close; while (l = c.gets); c.write(l.upcase); end; c.close }
  c.close
end
""", t.site, port=7)
    got = t.out("app", "ruby", "-rsocket", "-rnet/http", "-rtimeout", "-e", r"""
Timeout.timeout(20) do
  10.times.map do |n|
    Thread.new do
      TCPSocket.open(ARGV[0], 7) do |s|
        100.times { |i| s.puts "line #{n} #{i}"; raise "echo" if s.gets != "LINE #{n} #{i}\n" }
        s.close_write
        raise "end" unless s.read.empty?
      end
    end
  end.each(&:join)
  u = UDPSocket.new
  u.connect(ARGV[0], 7)
  u.send("abc", 0)
  raise "udp" if u.recv(10) != "cba"
  STDOUT.binmode
  STDOUT.write Net::HTTP.get(ARGV[0], "/file.bin")
end
""", t.at("rb"), text=False)
    t.is_data(got)


@case("perl", packages="perl")
def perl(t):
    """perl: IO::Socket::INET server that forks, IO::Select client, UDP, stdio on sockets."""
    t.serve("pl", "perl", "-MIO::Socket::INET", "-e", r"""
$SIG{CHLD} = 'IGNORE';
my $u = IO::Socket::INET->new(LocalPort => 7, Proto => 'udp') or die $!;
if (!fork) { my $m; while ($u->recv($m, 100)) { $u->send(scalar reverse $m) } exit }
my $s = IO::Socket::INET->new(LocalPort => 7, Listen => 50, ReuseAddr => 1) or die "$@ $!";
while (my $c = $s->accept) {
  if (!fork) { close $s; while (<$c>) { print $c "got $_" } exit }
  close $c;
}
""", port=7)
    got = t.out("app", "perl", "-MIO::Socket::INET", "-MIO::Select", "-e", r"""
alarm 20;
my @all = map { IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 7) or die "$@ $!" } 1..20;
my $sel = IO::Select->new(@all);
my %line; my $n = 0;
for my $s (@all) { $s->autoflush(1); print $s "line $_\n" for 1..100; shutdown($s, 1) }
while ($sel->count) {
  for my $s ($sel->can_read(10)) {
    my $got = sysread($s, my $part, 8192);
    die $! unless defined $got;
    if ($got) { $line{$s} .= $part } else { $sel->remove($s); close $s }
  }
}
my $want = join '', map { "got line $_\n" } 1..100;
for (values %line) { die "bad" if $_ ne $want; $n++ }
my $u = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 7, Proto => 'udp') or die;
$u->send("abc"); my $m; $u->recv($m, 10); die $m if $m ne 'cba';
print "$n\n";
""", t.at("pl"))
    equal(got, "20\n")


@case("perl", packages="libhttp-daemon-perl libwww-perl")
def perl_http(t):
    """perl: HTTP::Daemon and LWP with keep-alive."""
    t.run("pl", "perl", "-MHTTP::Daemon", "-MLWP::UserAgent", "-e", "1")
    t.serve("pl", "perl", "-MHTTP::Daemon", "-e", r"""
my $d = HTTP::Daemon->new(LocalPort => 80, ReuseAddr => 1) or die "$@ $!";
while (my $c = $d->accept) {
  while (my $q = $c->get_request) { $c->send_file_response("$ARGV[0]" . $q->uri->path) }
  $c->close;
}
""", t.site, port=80)
    got = t.out("app", "perl", "-MLWP::UserAgent", "-e", r"""
my $ua = LWP::UserAgent->new(keep_alive => 1, timeout => 20);
for (1..20) {
  my $r = $ua->get("http://$ARGV[0]/index.html");
  die $r->status_line unless $r->is_success && $r->content eq "hello from foyer\n";
}
binmode STDOUT;
print $ua->get("http://$ARGV[0]/file.bin")->content;
""", t.at("pl"), text=False)
    t.is_data(got)


JAVA = r"""
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.util.*;
import java.util.concurrent.*;

public class Echo {
    static void serve() throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress(7), 100).configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        DatagramChannel datagrams = DatagramChannel.open();
        datagrams.bind(new InetSocketAddress(7)).configureBlocking(false);
        datagrams.register(selector, SelectionKey.OP_READ);
        while (true) {
            selector.select();
            for (Iterator<SelectionKey> i = selector.selectedKeys().iterator(); i.hasNext();) {
                SelectionKey key = i.next();
                i.remove();
                if (key.isAcceptable()) {
                    SocketChannel c = server.accept();
                    c.configureBlocking(false);
                    c.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
                } else if (key.channel() == datagrams) {
                    ByteBuffer b = ByteBuffer.allocate(2000);
                    SocketAddress from = datagrams.receive(b);
                    b.flip();
                    datagrams.send(b, from);
                } else {
                    echo(key);
                }
            }
        }
    }

    static void echo(SelectionKey key) throws Exception {
        SocketChannel c = (SocketChannel) key.channel();
        ByteBuffer b = (ByteBuffer) key.attachment();
        int n = key.isReadable() ? c.read(b) : 0;
        b.flip();
        c.write(b);
        b.compact();
        if (n < 0 && b.position() == 0)
            c.close();
        else
            key.interestOps((b.hasRemaining() && n >= 0 ? SelectionKey.OP_READ : 0)
                            | (b.position() > 0 ? SelectionKey.OP_WRITE : 0));
    }

    static Void talk(String host, int seed) throws Exception {
        byte[] data = new byte[300_000];
        new Random(seed).nextBytes(data);
        try (Socket s = new Socket(host, 7)) {
            s.setSoTimeout(20_000);
            Thread writer = new Thread(() -> {
                try {
                    s.getOutputStream().write(data);
                    s.shutdownOutput();
                } catch (Exception e) {
                    e.printStackTrace();
                }
            });
            writer.start();
            byte[] got = s.getInputStream().readAllBytes();
            writer.join();
            if (!Arrays.equals(got, data))
                throw new Exception("echo " + got.length);
        }
        return null;
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 0)
            serve();
        ExecutorService pool = Executors.newFixedThreadPool(10);
        List<Future<Void>> all = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            int seed = i;
            all.add(pool.submit(() -> talk(args[0], seed)));
        }
        for (Future<Void> f : all)
            f.get(25, TimeUnit.SECONDS);
        pool.shutdown();
        try (DatagramSocket d = new DatagramSocket()) {
            d.setSoTimeout(10_000);
            byte[] data = "datagram".getBytes();
            d.send(new DatagramPacket(data, 8, InetAddress.getByName(args[0]), 7));
            DatagramPacket p = new DatagramPacket(new byte[100], 100);
            d.receive(p);
            if (p.getLength() != 8)
                throw new Exception("datagram");
        }
        System.out.println("fine");
    }
}
"""


@case("javac", "java", packages="default-jdk-headless", slow=True)
def java_nio(t):
    """Java: NIO selector server with UDP and TCP; 20 client sockets in 10 threads; half close."""
    t.write("Echo.java", JAVA)
    t.run("jvm", "javac", "-d", t.dir, t.dir / "Echo.java", timeout=90)
    small = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", t.dir, "Echo")
    t.serve("jvm", *small, port=7)
    equal(t.out("app", *small, t.at("jvm"), timeout=60), "fine\n")
