"""Measures packing, pushing, pulling and verifying: modelpack, the machine's floor, and the peers on PATH, each in turn. See README.md.

Usage: measure.py WORK ROUNDS MODELPACK FLOOR MODEL, where WORK/model is the model of that name, see model.py.
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
# The name of an artifact that is only stored.
STORED = "localhost/bench/model:v1"
DISTRIBUTION = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"}}
"""
MODELFILE = """NAME noise
CONFIG *.json
MODEL *.safetensors
DOC *.md
DOC *.txt
"""
# This project, pulling what oras has pushed.
OURS_OF_ORAS = "modelpack (of oras)"
# A program that needs more seconds than this is measured once.
SLOW = 30


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


def on_path(*programs):
    """Those of the programs that are installed."""
    return [program for program in programs if shutil.which(program)]


def free_address():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return f"{HOST}:{probe.getsockname()[1]}"


def reference(address, program):
    """The name of what this program pushes."""
    return f"{address}/bench/{program}:v1"


class Bench:
    def __init__(self, work, rounds, modelpack, floor):
        self.work, self.rounds = pathlib.Path(work), int(rounds)
        self.modelpack, self.floor_program = pathlib.Path(modelpack).resolve(), pathlib.Path(floor).resolve()
        self.threads = os.cpu_count()
        # Whose artifact each program pulls, if not that of modelpack.
        self.pulls = {}
        self.model = self.work / "model"
        self.files = sorted(path.name for path in self.model.iterdir())
        self.registry = os.environ.get("BENCH_REGISTRY", "modelpack")
        self.modelfile = self.work / "Modelfile"
        self.modelfile.write_text(MODELFILE)

    # Commands

    def floor(self, operation, *arguments):
        return [self.floor_program, operation, str(self.threads), *arguments]

    def ours(self, *arguments):
        return [self.modelpack, "--quiet", "--store", self.work / "store", *arguments]

    def modctl(self, verb, *arguments):
        return ["modctl", verb, "--no-progress", "--log-dir", self.work / "modctl-log", "--storage-dir", self.work / "modctl", *arguments]

    def modctl_build(self, target, *arguments):
        return self.modctl("build", "--raw", "-f", self.modelfile, "-t", target, *arguments, self.model)

    def serve(self, root, address):
        if self.registry == "modelpack":
            return [self.modelpack, "serve", "--listen", address, "--root", root]
        config = self.work / "registry.yml"
        config.write_text(DISTRIBUTION.format(root=root, address=address))
        return ["env", "OTEL_TRACES_EXPORTER=none", "registry", "serve", config]

    def pack_command(self, who, target):
        return {
            "floor": self.floor("pack", self.model, self.work / "output"),
            "modelpack": self.ours("pack", self.model, "-t", target),
            "modctl": self.modctl_build(target),
        }[who]

    def push_command(self, who, address, target):
        return {
            "floor": self.floor("send", address, self.model),
            "modelpack": self.ours("push", self.model, target, "--plain-http"),
            "oras": ["oras", "push", "--plain-http", "--no-tty", target, *self.files],
            "modctl": self.modctl_build(target, "--output-remote", "--plain-http"),
        }[who]

    def push_stored_command(self, who, address, target):
        """Pushes what `pack_command` has stored. Our store keeps an image layout for each name, from which the others read."""
        layout = f"{self.work}/store/repositories/{target.replace(':v1', '').replace(':', '+')}:v1"
        return {
            "floor": self.floor("send-known", address, self.model),
            "modelpack": self.ours("push", target, "--plain-http"),
            "oras": ["oras", "copy", "--no-tty", "--from-oci-layout", layout, "--to-plain-http", target],
            "modctl": self.modctl("push", "--plain-http", target),
            "skopeo": ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{target}"],
        }[who]

    def pull_command(self, who, address, source):
        output = self.work / "output"
        ours = self.ours("pull", source, "-o", output, "--plain-http")
        return {
            "floor": self.floor("fetch", address, self.model, output),
            "modelpack": ours,
            OURS_OF_ORAS: ours,
            "oras": ["oras", "pull", "--plain-http", "--no-tty", "-o", output, source],
            "modctl": self.modctl("pull", "--plain-http", "--extract-from-remote", "--extract-dir", output, source),
        }[who]

    def pull_stored_command(self, who, address, source):
        """Pulls into the store of each program; for those without one, into an image layout."""
        layout = f"{self.work}/store:v1"
        return {
            "floor": self.floor("fetch", address, self.model, self.work / "output"),
            "modelpack": self.ours("pull", source, "--plain-http"),
            "oras": ["oras", "copy", "--no-tty", "--from-plain-http", source, "--to-oci-layout", layout],
            "modctl": self.modctl("pull", "--plain-http", source),
            "skopeo": ["skopeo", "copy", "--insecure-policy", "--quiet", "--src-tls-verify=false", f"docker://{source}", f"oci:{layout}"],
        }[who]

    def verify_command(self, who, target):
        return {
            "floor": self.floor("verify", self.model),
            "modelpack": self.ours("verify", target),
            "one stream": [self.floor_program, "hash", self.model],
        }[who]

    # Operations: each takes the program to measure, and returns its usage

    def clear(self, *kept):
        """Removes what the last measurement has left, except these directories. Nothing of it is still on its way to a disk."""
        for path in self.work.iterdir():
            if path.is_dir() and path.name not in ("model", *kept):
                shutil.rmtree(path)
        os.sync()

    def directory(self, name):
        path = self.work / name
        path.mkdir(exist_ok=True)
        return path

    @contextlib.contextmanager
    def server(self, command):
        """Runs a server, whose command is made from its address. Gives the server, and the address for clients."""
        address = free_address()
        with Server(command(address), address) as server:
            yield server, address

    def pack(self, who):
        self.clear()
        self.directory("output")
        return run(self.pack_command(who, STORED)), None

    def push(self, who):
        """Pushes the directory to an empty registry, with unknown digests."""
        self.clear()
        with self.empty_registry(who) as (server, address):
            client = run(self.push_command(who, address, reference(address, who)), self.model)
        return client, server.usage

    def push_stored(self, who):
        """Pushes from the program's store to an empty registry."""
        self.clear()
        with self.empty_registry(who) as (server, address):
            target = reference(address, who)
            if who != "floor":
                run(self.pack_command("modctl" if who == "modctl" else "modelpack", target))
            client = run(self.push_stored_command(who, address, target))
        return client, server.usage

    def empty_registry(self, who):
        root = self.directory("registry")
        return self.server(lambda address: [self.floor_program, "receive", address, root] if who == "floor" else self.serve(root, address))

    def fill_registry(self, *programs):
        """Pushes the directory with each of these programs."""
        self.clear()
        with self.empty_registry("modelpack") as (_, address):
            for program in programs:
                run(self.push_command(program, address, reference(address, program)), self.model)

    def full_registry(self, who):
        """What `fill_registry` has left."""
        root = self.work / "registry"
        return self.server(lambda address: [self.floor_program, "serve", address, self.model] if who == "floor" else self.serve(root, address))

    def pull(self, who):
        return self.pull_by(self.pull_command, who)

    def pull_stored(self, who):
        return self.pull_by(self.pull_stored_command, who)

    def pull_by(self, command, who):
        self.clear("registry")
        self.directory("output")
        with self.full_registry(who) as (server, address):
            client = run(command(who, address, reference(address, self.pulls.get(who, "modelpack"))), self.work)
        return client, server.usage

    def verify(self, who):
        """Verifies what `pack("modelpack")` has stored."""
        return run(self.verify_command(who, STORED)), None

    def again(self, _):
        """A push and a pull without changes since the last ones."""
        self.clear()
        with self.empty_registry("modelpack") as (_, address):
            push, pull = (command("modelpack", address, reference(address, "modelpack")) for command in (self.push_command, self.pull_command))
            run(push), run(pull)
            return run(push), run(pull)

    # Report

    def rounds_of(self, operation, contenders):
        """Rotates the order of the programs from round to round. Slow programs have one round only."""
        taken = {who: [] for who in contenders}
        for turn in range(self.rounds):
            shift = turn % len(contenders)
            for who in contenders[shift:] + contenders[:shift]:
                if turn == 0 or taken[who][0][0].wall < SLOW:
                    taken[who].append(operation(who))
        return taken

    def table(self, title, operation, *others):
        """Compares with the floor, and with the others that are on PATH."""
        taken = self.rounds_of(operation, ["floor", "modelpack", *others])

        def median(who, side, figure):
            return statistics.median(getattr(usages[side], figure) for usages in taken[who])

        print(f"\n{title:<24}{'wall s':>8}{'/ floor':>9}{'/ ours':>8}{'client CPU s':>14}{'/ floor':>9}{'MiB':>6}{'server CPU s':>14}{'MiB':>6}")
        for who, usages in taken.items():
            name = who if len(usages) == self.rounds else f"{who} (one round)"
            wall, cpu = median(who, 0, "wall"), median(who, 0, "cpu")
            row = f"  {name:<22}{wall:>8.2f}{wall / median('floor', 0, 'wall'):>9.2f}{wall / median('modelpack', 0, 'wall'):>8.2f}"
            row += f"{cpu:>14.2f}{cpu / median('floor', 0, 'cpu'):>9.2f}{median(who, 0, 'memory'):>6.0f}"
            if usages[0][1]:
                row += f"{median(who, 1, 'cpu'):>14.2f}{median(who, 1, 'memory'):>6.0f}"
            print(row, flush=True)

    def summary(self):
        size = sum((self.model / name).stat().st_size for name in self.files)
        count = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        print(f"{count}, {size / 2**30:.2f} GiB, {os.cpu_count()} cores, {self.rounds} rounds, registry: {self.registry}")

    def small_files(self):
        """Many small files. modelpack bundles them in a layer. For the others, each is a layer, so each program pulls what it has pushed."""
        peers = on_path("oras", "modctl")
        self.table("push DIR", self.push, *peers)
        self.pulls = {peer: peer for peer in peers}
        if "oras" in peers:
            self.pulls[OURS_OF_ORAS] = "oras"
        self.fill_registry("modelpack", *peers)
        self.table("pull -o DIR", self.pull, *self.pulls)

    def large_files(self):
        self.table("pack", self.pack, *on_path("modctl"))
        self.table("push DIR", self.push, *on_path("oras", "modctl"))
        self.table("push REF", self.push_stored, *on_path("oras", "modctl", "skopeo"))
        self.fill_registry("modelpack")
        self.table("pull -o DIR", self.pull, *on_path("oras", "modctl"))
        self.table("pull REF", self.pull_stored, *on_path("oras", "modctl", "skopeo"))
        self.pack("modelpack")
        self.table("verify", self.verify, "one stream")

    def small_costs(self):
        taken = self.rounds_of(self.again, ["modelpack"])["modelpack"]
        print(f"\npush DIR, nothing changed   {statistics.median(push.wall for push, _ in taken):.3f} s")
        print(f"pull -o DIR, nothing changed {statistics.median(pull.wall for _, pull in taken):.3f} s")
        starts = [[run(command).wall * 1000 for _ in range(20)] for command in (["true"], [self.modelpack, "version"])]
        print("start-up: `true` {:.1f} ms, `modelpack version` {:.1f} ms".format(*map(statistics.median, starts)))


def main(work, rounds, modelpack, floor, model):
    bench = Bench(work, rounds, modelpack, floor)
    bench.summary()
    if model == "small-files":
        bench.small_files()
    else:
        bench.large_files()
    if model == "shards":
        bench.small_costs()


if __name__ == "__main__":
    main(*sys.argv[1:])
