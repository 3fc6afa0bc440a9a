"""Measures a mounted model beside `pull -o`, a plain directory, and rclone if it is on PATH, each in turn. See README.md.

Usage: mount.py WORK ROUNDS MODELPACK [HOST NAMESPACE], where WORK/model is the model, and servers listen at HOST in NAMESPACE.
"""

import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

from measure import HOST, Process, Server, on_path, run

BUFFER = 1 << 20


def first_byte(directory):
    """Seconds until one byte of the first file is there."""
    started = time.monotonic()
    with open(min(path for path in directory.iterdir() if path.is_file()), "rb", buffering=0) as file:
        file.read(1)
    return time.monotonic() - started


def all_bytes(directory):
    """Seconds until all bytes of all files are there, one file after the other."""
    started, buffer = time.monotonic(), bytearray(BUFFER)
    for path in sorted(path for path in directory.iterdir() if path.is_file()):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.monotonic() - started


def forget_pages():
    """The page cache has nothing of a file any more, unless it is in memory only."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")


class MountBench:
    def __init__(self, work, rounds, modelpack, host=HOST, namespace=None):
        self.work, self.rounds, self.modelpack = pathlib.Path(work), int(rounds), pathlib.Path(modelpack).resolve()
        self.model, self.directory = self.work / "model", self.work / "mnt"
        self.host, self.inside = host, ["ip", "netns", "exec", namespace] if namespace else []
        self.directory.mkdir()

    def address(self):
        if self.inside:
            return f"{self.host}:5000"
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            return f"{self.host}:{probe.getsockname()[1]}"

    def ours(self, *arguments):
        return [self.modelpack, "--quiet", "--store", self.work / "store", *arguments]

    def registry(self, address):
        return Server([*self.inside, self.modelpack, "serve", "--listen", address, "--root", self.work / "registry"], address)

    def pull(self):
        shutil.rmtree(self.work / "out", ignore_errors=True)
        address = self.address()
        with self.registry(address):
            usage = run(self.ours("pull", "--plain-http", f"{address}/bench/m:v1", "-o", self.work / "out"))
        return {"last": usage.wall, "cpu": usage.cpu, "memory": usage.memory}

    def mounted(self, command, end):
        """Mounts, and reads everything."""
        started = time.monotonic()
        process = Process(command, stderr=subprocess.DEVNULL)
        while not os.path.ismount(self.directory):
            time.sleep(0.001)
        figures = {"mounted": time.monotonic() - started}
        figures["first"] = first_byte(self.directory)
        figures["last"] = figures["mounted"] + figures["first"] + all_bytes(self.directory)
        run([*end, self.directory])
        usage = process.finish()
        return figures | {"cpu": usage.cpu, "memory": usage.memory}

    def cold(self):
        shutil.rmtree(self.work / "cache", ignore_errors=True)
        return self.warm()

    def warm(self):
        address = self.address()
        with self.registry(address):
            mount = self.ours("mount", "--cache", self.work / "cache", "--plain-http", f"{address}/bench/m:v1", self.directory)
            figures = self.mounted(mount, [self.modelpack, "unmount", "--lazy"])
            # It ends when all files are complete, or are not needed any more.
            return figures

    def rclone(self):
        address = self.address()
        cache = self.work / "rclone"
        shutil.rmtree(cache, ignore_errors=True)
        with Server([*self.inside, "rclone", "serve", "http", "--addr", address, self.model], address):
            options = ["--read-only", "--vfs-cache-mode", "full", "--cache-dir", cache, "--config", self.work / "rclone.conf"]
            mount = ["rclone", "mount", *options, "--http-url", f"http://{address}", ":http:", self.directory]
            return self.mounted(mount, ["fusermount3", "-u"])

    def plain(self):
        forget_pages()
        return {"first": first_byte(self.model), "last": all_bytes(self.model)}

    def main(self):
        address = self.address()
        with self.registry(address):
            run(self.ours("push", "--plain-http", self.model, f"{address}/bench/m:v1"))
        rows = {"pull -o DIR": self.pull, "mount, cold": self.cold, "mount, warm": self.warm}
        if on_path("rclone") and on_path("fusermount3"):
            rows["rclone mount, cold"] = self.rclone
        rows["plain files"] = self.plain
        taken = {row: [] for row in rows}
        for _ in range(self.rounds):
            for row, measure in rows.items():
                taken[row].append(measure())
        print(f"{'':<20}{'mounted s':>11}{'first byte s':>14}{'last byte s':>13}{'/ pull':>8}{'CPU s':>8}{'MiB':>6}")
        for row, figures in taken.items():

            def median(figure, row=figures):
                values = [one[figure] for one in row if figure in one]
                return statistics.median(values) if values else None

            def cell(value, width, digits):
                return f"{value:>{width}.{digits}f}" if value is not None else " " * width

            last = median("last")
            ratio = last / statistics.median(one["last"] for one in taken["pull -o DIR"])
            print(
                f"{row:<20}{cell(median('mounted'), 11, 3)}{cell(median('first'), 14, 3)}{last:>13.2f}{ratio:>8.2f}"
                f"{cell(median('cpu'), 8, 2)}{cell(median('memory'), 6, 0)}",
                flush=True,
            )


if __name__ == "__main__":
    MountBench(*sys.argv[1:]).main()
