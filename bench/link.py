"""Measures pushing and pulling one large file over a link: a bare connection, modelpack, and the peers on PATH, each in turn. See README.md.

Usage: link.py WORK ROUNDS MODELPACK FLOOR ADDRESS NAMESPACE, where servers listen at ADDRESS in NAMESPACE, and this script runs in another one.
"""

import contextlib
import pathlib
import sys

from measure import Bench, Server, run
from model import write_shard

SIZE = 2 << 30


class Link(Bench):
    def __init__(self, work, rounds, modelpack, floor, address, namespace):
        super().__init__(work, rounds, modelpack, floor)
        self.address, self.namespace = address, namespace
        self.modelfile.write_text("NAME noise\nMODEL *.safetensors\n")

    @contextlib.contextmanager
    def server(self, command):
        with Server(["ip", "netns", "exec", self.namespace, *command(self.address)], self.address) as server:
            yield server, self.address

    def push_command(self, who, address):
        target = f"{address}/bench/model:v1"
        return {
            "modelpack": self.ours("push", target, "--plain-http"),
            "modctl": self.modctl("push", "--plain-http", target),
        }.get(who) or super().push_command(who, address)

    def main(self):
        self.summary()
        # What is pushed is packed already, so that nothing has to be hashed before the first byte is sent.
        self.scratch("store"), self.scratch("modctl")
        target = f"{self.address}/bench/model:v1"
        run(self.ours("pack", self.model, "-t", target))
        if "modctl" in self.peers:
            run(self.modctl("build", "--raw", "-f", self.modelfile, "-t", target, self.model))
        contenders = ["floor", "modelpack", *self.peers]
        self.table("push", self.send, contenders)
        self.send("modelpack")
        self.table("pull -o DIR", self.pull, contenders)


def main(work, *arguments):
    model = pathlib.Path(work) / "model"
    model.mkdir()
    write_shard(model / "model.safetensors", "model.weight", SIZE)
    Link(work, *arguments).main()


if __name__ == "__main__":
    main(*sys.argv[1:])
