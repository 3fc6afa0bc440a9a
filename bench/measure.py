"""Measures packing, pushing and pulling: modelpack, the machine's floor, and the peers on PATH, each in turn. See README.md.

Usage: measure.py WORK ROUNDS MODELPACK FLOOR, where WORK/model is the model.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HOST = "127.0.0.1"
DISTRIBUTION = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"}}
"""
MODELFILE = """NAME noise
CONFIG *.json
MODEL *.safetensors
DOC README.md
"""


@dataclasses.dataclass
class Usage:
    """The resource usage of a process: seconds, CPU seconds, and peak memory in MiB."""

    wall: float
    cpu: float
    memory: float


class Process:
    """A measured process. Its peak memory is read from the kernel while it runs, because the value of `wait4` includes this script's own memory."""

    def __init__(self, command, **options):
        self.peak, self.started = 0.0, time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def watch(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status")
        while not self.ended.wait(0.01):
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            self.peak = int(found[1]) / 1024 if found else self.peak

    def finish(self):
        """Waits until the process ends."""
        # The process stays a zombie until the second wait, so the watcher can still read its usage.
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        wall = time.monotonic() - self.started
        self.ended.set()
        self.watcher.join()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return Usage(wall, usage.ru_utime + usage.ru_stime, self.peak)


def run(command, directory=None):
    """Runs a client until it ends."""
    with tempfile.TemporaryFile() as errors:
        client = Process(command, cwd=directory, stderr=errors)
        usage = client.finish()
        if client.process.returncode != 0:
            errors.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: exit code {client.process.returncode}\n{errors.read().decode()}")
    return usage


class Server:
    """A server that runs during the block. Its usage is available afterwards."""

    def __init__(self, command, address):
        self.command, self.address = command, address

    def __enter__(self):
        self.server = Process(self.command, stderr=subprocess.DEVNULL)
        host, port = self.address.split(":")
        for _ in range(500):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
                return self
            time.sleep(0.01)
        self.server.process.kill()
        sys.exit(f"{self.command[0]} does not listen")

    def __exit__(self, *_):
        self.server.process.terminate()
        self.usage = self.server.finish()


def free_address():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return f"{HOST}:{probe.getsockname()[1]}"


class Bench:
    def __init__(self, work, rounds, modelpack, floor):
        self.work, self.rounds = pathlib.Path(work), int(rounds)
        self.modelpack, self.floor = pathlib.Path(modelpack).resolve(), pathlib.Path(floor).resolve()
        self.model = self.work / "model"
        self.files = sorted(path.name for path in self.model.iterdir())
        self.registry = os.environ.get("BENCH_REGISTRY", "modelpack")
        self.modelfile = self.work / "Modelfile"
        self.modelfile.write_text(MODELFILE)
        self.peers = [peer for peer in ("oras", "modctl") if shutil.which(peer)]

    # Commands

    def ours(self, *arguments):
        return [self.modelpack, "--quiet", "--store", self.work / "store", *arguments]

    def modctl(self, verb, *arguments):
        return ["modctl", verb, "--no-progress", "--log-dir", self.work / "modctl-log", "--storage-dir", self.work / "modctl", *arguments]

    def serve(self, root, address):
        if self.registry == "modelpack":
            return [self.modelpack, "serve", "--listen", address, "--root", root]
        config = self.work / "registry.yml"
        config.write_text(DISTRIBUTION.format(root=root, address=address))
        return ["env", "OTEL_TRACES_EXPORTER=none", "registry", "serve", config]

    def scratch(self, name):
        """An empty directory."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def push_command(self, who, address):
        target = f"{address}/bench/model:v1"
        return {
            "floor": [self.floor, "send", address, self.model],
            "modelpack": self.ours("push", self.model, target, "--plain-http"),
            "oras": ["oras", "push", "--plain-http", "--no-tty", target, *self.files],
            "modctl": self.modctl("build", "--raw", "--output-remote", "--plain-http", "-f", self.modelfile, "-t", target, self.model),
        }[who]

    def pull_command(self, who, address, output):
        source = f"{address}/bench/model:v1"
        return {
            "floor": [self.floor, "fetch", address, output, *self.files],
            "modelpack": self.ours("pull", source, "-o", output, "--plain-http"),
            "oras": ["oras", "pull", "--plain-http", "--no-tty", "-o", output, source],
            "modctl": self.modctl("pull", "--plain-http", "--extract-from-remote", "--extract-dir", output, source),
        }[who]

    @contextlib.contextmanager
    def server(self, command):
        """Runs a server, whose command is made from its address. Gives the server, and the address for clients."""
        address = free_address()
        with Server(command(address), address) as server:
            yield server, address

    # Operations: each takes the program to measure, and returns its usage

    def pack(self, who):
        self.scratch("store"), self.scratch("modctl")
        command = {
            "floor": [self.floor, "pack", self.model, self.scratch("floor")],
            "modelpack": self.ours("pack", self.model, "-t", "bench/model:v1"),
            "modctl": self.modctl("build", "--raw", "-f", self.modelfile, "-t", "localhost/bench/model:v1", self.model),
        }[who]
        return run(command, self.model), None

    def push(self, who):
        self.scratch("store"), self.scratch("modctl")
        return self.send(who)

    def send(self, who):
        """Pushes to an empty registry."""
        root = self.scratch("registry")
        with self.server(lambda address: [self.floor, "receive", address, root] if who == "floor" else self.serve(root, address)) as (server, address):
            client = run(self.push_command(who, address), self.model)
        return client, server.usage

    def pull(self, who):
        root, output = self.work / "registry", self.scratch("output")
        self.scratch("store"), self.scratch("modctl")
        with self.server(lambda address: [self.floor, "serve", address, self.model] if who == "floor" else self.serve(root, address)) as (server, address):
            client = run(self.pull_command(who, address, output), self.work)
        return client, server.usage

    def again(self, _):
        """A push and a pull without changes since the last ones."""
        root, output = self.scratch("registry"), self.scratch("output")
        self.scratch("store")
        with self.server(lambda address: self.serve(root, address)) as (_, address):
            push, pull = self.push_command("modelpack", address), self.pull_command("modelpack", address, output)
            run(push), run(pull)
            return run(push), run(pull)

    # Report

    def rounds_of(self, operation, contenders):
        """Rotates the order of the programs from round to round."""
        taken = {who: [] for who in contenders}
        for turn in range(self.rounds):
            shift = turn % len(contenders)
            for who in contenders[shift:] + contenders[:shift]:
                taken[who].append(operation(who))
        return taken

    def table(self, title, operation, contenders):
        taken = self.rounds_of(operation, contenders)

        def median(who, side, figure):
            return statistics.median(getattr(usages[side], figure) for usages in taken[who])

        print(f"\n{title:<24}{'wall s':>8}{'/ floor':>9}{'/ ours':>8}{'client CPU s':>14}{'MiB':>6}{'server CPU s':>14}{'MiB':>6}")
        for who in contenders:
            wall = median(who, 0, "wall")
            row = f"  {who:<22}{wall:>8.2f}{wall / median('floor', 0, 'wall'):>9.2f}{wall / median('modelpack', 0, 'wall'):>8.2f}"
            row += f"{median(who, 0, 'cpu'):>14.2f}{median(who, 0, 'memory'):>6.0f}"
            if taken[who][0][1]:
                row += f"{median(who, 1, 'cpu'):>14.2f}{median(who, 1, 'memory'):>6.0f}"
            print(row, flush=True)

    def summary(self):
        size = sum((self.model / name).stat().st_size for name in self.files)
        count = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        print(f"{count}, {size / 2**30:.2f} GiB, {os.cpu_count()} cores, {self.rounds} rounds, registry: {self.registry}")

    def main(self):
        self.summary()
        self.table("pack", self.pack, ["floor", "modelpack", *(peer for peer in self.peers if peer == "modctl")])
        self.table("push DIR", self.push, ["floor", "modelpack", *self.peers])
        self.push("modelpack")
        self.table("pull -o DIR", self.pull, ["floor", "modelpack", *self.peers])

        taken = self.rounds_of(self.again, ["modelpack"])["modelpack"]
        print(f"\npush DIR, nothing changed   {statistics.median(push.wall for push, _ in taken):.3f} s")
        print(f"pull -o DIR, nothing changed {statistics.median(pull.wall for _, pull in taken):.3f} s")
        starts = [[run(command).wall * 1000 for _ in range(20)] for command in (["true"], [self.modelpack, "version"])]
        print("start-up: `true` {:.1f} ms, `modelpack version` {:.1f} ms".format(*map(statistics.median, starts)))


if __name__ == "__main__":
    Bench(*sys.argv[1:]).main()
