"""Measures pushing and pulling one large file over a link: a bare connection, modelpack, and the peers on PATH, each in turn. See README.md.

Usage: link.py WORK ROUNDS MODELPACK FLOOR ADDRESS NAMESPACE, where servers listen at ADDRESS in NAMESPACE, and this script runs in another one.
"""

import contextlib
import pathlib
import sys

from measure import Bench, Server, on_path
from model import one_file

SIZE = 2 << 30


class Link(Bench):
    def __init__(self, work, rounds, modelpack, floor, address, namespace):
        super().__init__(work, rounds, modelpack, floor)
        self.address, self.namespace = address, namespace
        # One bare connection.
        self.threads = 1

    @contextlib.contextmanager
    def server(self, command):
        with Server(["ip", "netns", "exec", self.namespace, *command(self.address)], self.address) as server:
            yield server, self.address

    def main(self):
        self.summary()
        # What is pushed is in a store, so that nothing has to be hashed before the first byte is sent.
        self.table("push REF", self.push_stored, *on_path("oras", "modctl"))
        self.fill_registry("modelpack")
        self.table("pull -o DIR", self.pull, *on_path("oras", "modctl"))


def main(work, *arguments):
    model = pathlib.Path(work) / "model"
    model.mkdir()
    one_file(model, SIZE)
    Link(work, *arguments).main()


if __name__ == "__main__":
    main(*sys.argv[1:])
