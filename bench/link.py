"""Measures pushing and pulling one large file over a link: a bare connection, modelpack, and the peers on PATH, each in turn. See README.md.

Usage: link.py WORK ROUNDS MODELPACK FLOOR ADDRESS NAMESPACE, where servers listen at ADDRESS in NAMESPACE, and this script runs in another one.
"""

import contextlib
import pathlib
import sys

from measure import Bench, Server
from model import write_shard

SIZE = 2 << 30


class Link(Bench):
    def __init__(self, work, rounds, modelpack, floor, address, namespace):
        super().__init__(work, rounds, modelpack, floor)
        self.address, self.namespace = address, namespace

    @contextlib.contextmanager
    def server(self, command):
        with Server(["ip", "netns", "exec", self.namespace, *command(self.address)], self.address) as server:
            yield server, self.address

    def main(self):
        self.summary()
        contenders = ["floor", "modelpack", *self.peers]
        self.table("push DIR", self.push, contenders)
        self.push("modelpack")
        self.table("pull -o DIR", self.pull, contenders)


def main(work, *arguments):
    model = pathlib.Path(work) / "model"
    model.mkdir()
    write_shard(model / "model.safetensors", "model.weight", SIZE)
    Link(work, *arguments).main()


if __name__ == "__main__":
    main(*sys.argv[1:])
