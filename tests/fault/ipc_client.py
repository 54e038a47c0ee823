"""A program that speaks foyerd's protocol (src/ipc/protocol.h) byte by byte.

For tests of foyerd itself: it can do what the preload module never would. Layouts here are written
down a second time on purpose; a change of the protocol must be felt.
"""

import ipaddress
import json
import mmap
import os
import pathlib
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

BUILD = pathlib.Path(os.environ.get("FOYER_BUILD", pathlib.Path(__file__).parents[2] / "build"))
FOYERD = str(BUILD / "bin" / "foyerd")
WAIT_S = 15.0

HELLO, SESSION, SOCKET, BIND, LISTEN, CONNECT, OPTIONS, ATTACH, RESOLVE, INFO, CONTROL = range(1, 12)
PROGRAM, BIRTH, CONTROLLER = 1, 2, 3
FREE, FRESH, LISTENING, CONNECTING, CONNECTED, FAILED, DATAGRAM = range(7)
OPEN, FIN, RESET = range(3)
REUSEADDR, REUSEPORT, V6ONLY, NODELAY, LINGER = 1, 2, 4, 8, 64
SLOT_SIZE, DATA_OFFSET = 256, 4096
ACCEPT = struct.Struct("=QIIIII18s18s")
ACCEPT_SIZE = ACCEPT.size


def addr_bytes(text):
    ip = ipaddress.ip_address(text)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


def endpoint_bytes(address, port):
    return addr_bytes(address) + struct.pack("=H", port)


def endpoint_text(data):
    ip = ipaddress.IPv6Address(data[:16])
    return str(ip.ipv4_mapped or ip), struct.unpack("=H", data[16:18])[0]


class Daemon:
    """A foyerd in the foreground with a runtime folder of its own; stops it at the end."""

    def __init__(self, *options, directory=None, limit=None):
        self.limit = limit  # of descriptors
        self.own_directory = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="foyerd-test."))
        self.socket_path = str(self.directory / "default" / "foyerd.sock")
        self.options = options
        self.process = None

    def start(self):
        ready, ready_writer = os.pipe()
        env = dict(os.environ, FOYER_DIR=str(self.directory))
        env.pop("LD_PRELOAD", None)
        self.log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(
            [FOYERD, "--building", "default", "--foreground", "--log-level", "debug", "--ready-fd",
             str(ready_writer), *self.options], env=env, pass_fds=[ready_writer], stderr=self.log)
        if self.limit is not None:  # now: at its start foyerd takes what it may have
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (self.limit, self.limit))
        os.close(ready_writer)
        byte = os.read(ready, 1)
        os.close(ready)
        if not byte:
            raise AssertionError(f"foyerd did not start: {self.log_text()}")
        return self

    def log_text(self):
        return (self.directory / "log").read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(WAIT_S)
        self.log.close()
        return status

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *rest):
        status = self.stop()
        if kind is not None or status != 0:
            print(f"--- foyerd: exit {status}\n{self.log_text()[-6000:]}")
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        if kind is None and status != 0:
            raise AssertionError(f"foyerd ended with {status}")

    def session(self, **kwargs):
        return Session(self, **kwargs)

    def control(self, command, fds=(), **members):
        with Session(self, role=CONTROLLER) as session:
            return session.control(command, fds, **members)


class Session:
    def __init__(self, daemon, role=PROGRAM, host="", hello=True, sock=None):
        self.daemon = daemon
        self.arenas = {}
        self.sockets = []  # or Python would close those that a test only looks at
        if sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.settimeout(WAIT_S)
            sock.connect(daemon.socket_path)
        self.sock = sock
        self.sock.settimeout(WAIT_S)
        if hello:
            self.hello(role, host)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()
        for one in self.sockets:
            one.close()

    def send(self, kind, body=b"", ident=0, fds=()):
        message = struct.pack("=IIQ", kind, 16 + len(body), ident) + body
        socket.send_fds(self.sock, [message], list(fds))

    def call(self, kind, body=b"", ident=0, fds=()):
        """Sends a request; gives (errno, id, body, descriptors) of the reply."""
        self.send(kind, body, ident, fds)
        data, fds, _, _ = socket.recv_fds(self.sock, 65536, 8)
        if not data:
            raise ConnectionResetError("foyerd ended the session")
        kind_back, error, ident_back = struct.unpack("=IiQ", data[:16])
        assert kind_back == kind, (kind_back, kind)
        return error, ident_back, data[16:], fds

    def hello(self, role, host, version=None):
        if version is None:  # what protocol_build() gives
            version = 1 if role == CONTROLLER else int(
                (BUILD / "protocol-build").read_text(encoding="ascii"), 16)
        body = struct.pack("=IIiI64s64s", version, role, 0, 0, host.encode(), b"ipc_client")
        error, _, data, fds = self.call(HELLO, body)
        if error:
            raise OSError(error, os.strerror(error))
        number, self.daemon_pid = struct.unpack("=Ii", data[4:12])
        self.addr4 = str(ipaddress.IPv6Address(data[16:32]).ipv4_mapped)
        self.addr6 = str(ipaddress.IPv6Address(data[32:48]))
        self.host = data[48:112].split(b"\0")[0].decode()
        self.building = data[112:176].split(b"\0")[0].decode()
        if fds:
            self.arenas[number] = mmap.mmap(fds[0], 65536 * SLOT_SIZE)
            self.arena_fd = fds[0]

    def birth(self):
        """Another session through this birth channel."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.send(SESSION, fds=[theirs.fileno()])
        theirs.close()
        return mine

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        error, ident, body, fds = self.call(SOCKET, struct.pack("=IIII", family, kind, 0, 0))
        if error:
            raise OSError(error, os.strerror(error))
        arena, slot, ring_size, _ = struct.unpack("=IIII", body)
        channel = Channel(fds[1], ring_size, 0) if len(fds) > 1 else None
        return Socket(self, ident, fds[0], self.arenas[arena], slot, channel)

    def resolve(self, name="", address="::"):
        error, _, body, _ = self.call(
            RESOLVE, struct.pack("=16s256s", addr_bytes(address), name.encode()))
        if error:
            return None
        count = struct.unpack("=I", body[:4])[0]
        addrs = [body[8 + 16 * i:24 + 16 * i] for i in range(count)]
        texts = [str(ipaddress.IPv6Address(a).ipv4_mapped or ipaddress.IPv6Address(a))
                 for a in addrs]
        return body[136:].split(b"\0")[0].decode(), texts

    def control(self, command, fds=(), **members):
        body = json.dumps({"command": command, **members}).encode()
        error, _, _, reply_fds = self.call(CONTROL, body, fds=fds)
        assert error == 0, os.strerror(error)
        with os.fdopen(reply_fds[0], "rb") as file:
            return json.load(file)


class Channel:
    """Two rings; see include/foyer/ring.h."""

    def __init__(self, fd, ring_size, side, bell=None):
        self.ring_size, self.side = ring_size, side
        self.memory = mmap.mmap(fd, DATA_OFFSET + 2 * ring_size)
        self.fd = fd
        self.bell = bell

    def word(self, ring, offset):
        return struct.unpack_from("=I", self.memory, ring * 256 + offset)[0]

    def set_word(self, ring, offset, value):
        struct.pack_into("=I", self.memory, ring * 256 + offset, value & 0xffffffff)

    def writer_state(self):
        """What the peer says of its sending direction."""
        return self.word(1 - self.side, 4)

    def reader_state(self):
        """What the peer says of its receiving direction."""
        return self.word(self.side, 68)

    def write(self, data):
        ring = self.side
        head = self.word(ring, 0)
        base = DATA_OFFSET + ring * self.ring_size
        for i, byte in enumerate(data):
            self.memory[base + (head + i) % self.ring_size] = byte
        self.set_word(ring, 0, head + len(data))
        return self.take(ring, 128)

    def take(self, ring, offset):
        waits = self.word(ring, offset)
        self.set_word(ring, offset, 0)
        return waits != 0

    def announce(self):
        self.set_word(1 - self.side, 128, 1)

    def read(self):
        ring = 1 - self.side
        head, tail = self.word(ring, 0), self.word(ring, 64)
        base = DATA_OFFSET + ring * self.ring_size
        data = bytes(self.memory[base + (tail + i) % self.ring_size]
                     for i in range((head - tail) & 0xffffffff))
        self.set_word(ring, 64, head)
        return data

    def fin(self):
        self.set_word(self.side, 4, FIN)


class Socket:
    """A program's socket: the program end, its slot and, once connected, its channel."""

    def __init__(self, session, ident, fd, arena, slot, channel=None):
        self.session, self.ident, self.slot, self.arena = session, ident, slot, arena
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)
        self.end.settimeout(WAIT_S)
        self.channel = channel
        self.conflict = ""
        session.sockets.append(self)

    def field(self, offset, form="=I"):
        return struct.unpack_from(form, self.arena, self.slot * SLOT_SIZE + offset)[0]

    def set_field(self, offset, value, form="=I"):
        struct.pack_into(form, self.arena, self.slot * SLOT_SIZE + offset, value)

    @property
    def state(self):
        return self.field(8)

    @property
    def error(self):
        return self.field(12)

    def options(self, bits):
        self.set_field(16, self.field(16) | bits)
        self.session.send(OPTIONS, ident=self.ident)

    def endpoint_call(self, kind, body):
        error, _, body, fds = self.session.call(kind, body, self.ident)
        self.local = endpoint_text(body[:18])
        self.conflict = body[24:].split(b"\0")[0].decode()
        return error

    def bind(self, address, port):
        body = endpoint_bytes(address, port) + b"\0" * 6
        return self.endpoint_call(BIND, body)

    def listen(self, backlog=16):
        return self.endpoint_call(LISTEN, struct.pack("=II", backlog, 0))

    def connect(self, address, port, unspecified=False):
        body = endpoint_bytes(address, port) + bytes([unspecified]) + b"\0" * 5
        error, _, body, fds = self.session.call(CONNECT, body, self.ident)
        ring_size, side = struct.unpack("=II", body[:8])
        self.local, self.remote = endpoint_text(body[8:26]), endpoint_text(body[26:44])
        if fds:
            bell = socket.socket(fileno=fds[1]) if len(fds) > 1 else None
            self.channel = Channel(fds[0], ring_size, side, bell)
        return error

    def accept(self, count=True):
        data, fds, _, _ = socket.recv_fds(self.end, ACCEPT_SIZE, 8)
        if not data:
            raise ConnectionResetError
        assert len(data) == ACCEPT_SIZE, len(data)
        ident, arena, slot, ring_size, side, is_local, local, remote = ACCEPT.unpack(
            data[:ACCEPT.size])
        if count:
            self.set_field(20, self.field(20) + 1)
            if self.field(24):
                self.set_field(24, 0)
                self.end.send(b"a")
        bell = socket.socket(fileno=fds[2]) if is_local else None
        accepted = Socket(self.session, ident, fds[0], self.session.arenas[arena], slot,
                          Channel(fds[1], ring_size, side, bell))
        accepted.local, accepted.remote = endpoint_text(local), endpoint_text(remote)
        return accepted

    def wait_bell(self):
        if not self.end.recv(4096):
            raise ConnectionResetError("the daemon end is closed")

    def send(self, data):
        """Writes and rings whoever has to look: the peer, or foyerd."""
        if self.channel.write(data):
            self.ring()

    def ring(self):
        (self.channel.bell or self.end).send(b"b")

    def receive(self, size=1):
        """Waits for at least size bytes."""
        data = self.channel.read()
        while len(data) < size:
            self.channel.announce()
            more = self.channel.read()
            if not more and self.channel.writer_state() == OPEN:
                self.wait_bell()
                more = self.channel.read()
            elif not more:
                break
            data += more
        return data

    def close(self):
        self.end.close()
        if self.channel is not None and self.channel.bell is not None:
            self.channel.bell.close()
