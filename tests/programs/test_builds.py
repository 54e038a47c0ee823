#!/usr/bin/env python3
"""foyerd, the command and the module of different builds: refused, and said so."""

import os
import socket
import struct
import subprocess
import sys
import pathlib
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, FOYER, Building  # noqa: E402

# struct foyer_hello and foyer_welcome, as far as every version has them.
HELLO = struct.Struct("=IIQIIii64s64s")
REPLY = struct.Struct("=IiQI")
HELLO_TYPE, CONTROL_TYPE = 1, 11
PROGRAM, BIRTH, CONTROL = 1, 2, 3
EPROTO = 71
OPEN_SOCKET = "import socket; socket.socket()"


def say_hello(path, role, version):
    """foyerd's answer: (errno, its version)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as session:
        session.settimeout(10)
        session.connect(str(path))
        session.send(HELLO.pack(HELLO_TYPE, HELLO.size, 0, version, role, 0, 0, b"a", b"test"))
        answer = session.recv(4096)
    kind, error, _, theirs = REPLY.unpack_from(answer)
    assert kind == HELLO_TYPE
    return error, theirs


class Builds(unittest.TestCase):
    def setUp(self):
        self.building = self.enterContext(Building())

    def socket_path(self):
        return next((self.building.dir / "run").glob("*/foyerd.sock"))

    def test_foyerd_takes_no_program_of_another_build(self):
        self.building.foyer("up")
        path = self.socket_path()
        for role in (PROGRAM, BIRTH):
            for version in (1, 2, 0xffffffff):
                self.assertEqual(say_hello(path, role, version)[0], EPROTO)

    def test_the_command_of_another_build_can_still_end_foyerd(self):
        self.building.foyer("up")
        self.assertEqual(say_hello(self.socket_path(), CONTROL, 1)[0], 0)
        self.assertEqual(say_hello(self.socket_path(), CONTROL, 2)[0], EPROTO)

    def play_foyerd(self, path):
        """A foyerd that speaks something else."""
        listener = self.enterContext(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(str(path))
        listener.listen()

        def serve():
            while True:
                try:
                    session, _ = listener.accept()
                except OSError:
                    return
                with session:
                    while session.recv(4096):
                        session.send(REPLY.pack(HELLO_TYPE, EPROTO, 0, 1) + bytes(4096))
        thread = threading.Thread(target=serve)
        thread.start()

        def end():
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
        self.addCleanup(end)

    def test_a_program_says_that_foyerd_is_of_another_build(self):
        path = self.building.dir / "other.sock"
        self.play_foyerd(path)
        env = {**self.building.env, "FOYER_SOCKET": str(path), "FOYER_HOST": "a",
               "LD_PRELOAD": str(BUILD / "lib" / "libfoyer-preload.so")}
        done = subprocess.run([sys.executable, "-c", OPEN_SOCKET], env=env, timeout=30,
                              capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("foyerd is of another build than this program's foyer module", done.stderr)
        self.assertIn("Network is down", done.stderr)

    def test_foyer_run_says_so_too(self):
        folder = self.building.dir / "run" / "default"
        folder.mkdir(mode=0o700)
        self.play_foyerd(folder / "foyerd.sock")
        done = subprocess.run([FOYER, "run", "true"], env=self.building.env, timeout=30,
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn("is of another version than this foyer", done.stderr)


if __name__ == "__main__":
    os.environ.pop("FOYER_BUILDING", None)
    unittest.main()
