"""Measures pulling one large file through a proxy that limits each connection: modelpack and the peers on PATH, each in turn. See README.md.

Usage: ranges.py WORK ROUNDS MODELPACK FLOOR THROTTLE
"""

import contextlib
import pathlib
import sys

from measure import Bench, Server, free_address, on_path
from model import one_file

SIZE = 2 << 30
RATE = 50_000_000


class Ranges(Bench):
    def __init__(self, work, rounds, modelpack, floor, throttle):
        super().__init__(work, rounds, modelpack, floor)
        # One bare connection.
        self.threads = 1
        self.throttle = pathlib.Path(throttle).resolve()

    @contextlib.contextmanager
    def server(self, command):
        address = free_address()
        with super().server(command) as (server, behind), Server([self.throttle, address, behind, str(RATE)], address):
            yield server, address

    def main(self):
        self.summary()
        print(f"each connection: {RATE / 1e6:.0f} MB/s; floor: one bare connection")
        self.table("pull -o DIR", self.pull, *on_path("oras", "modctl"))


def main(work, rounds, modelpack, floor, throttle):
    model = pathlib.Path(work) / "model"
    model.mkdir()
    one_file(model, SIZE)
    # The artifact that all pull; nothing limits this push.
    Bench(work, rounds, modelpack, floor).fill_registry("modelpack")
    Ranges(work, rounds, modelpack, floor, throttle).main()


if __name__ == "__main__":
    main(*sys.argv[1:])
