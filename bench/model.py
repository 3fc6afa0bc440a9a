"""Creates a model for the benchmark from incompressible bytes, which are the same each time. See README.md.

Usage: model.py MODEL DIRECTORY GIB, where MODEL is `shards`, `file` or `small-files`, and GIB is the size of the first two
"""

import hashlib
import json
import pathlib
import shutil
import struct
import sys

SHARDS = 4
SMALL_FILES = 10_000
SMALL_FILE = 4 << 10
CHUNK = 1 << 20
# The model, and what a measurement writes: at most a store or a directory, and a registry.
COPIES = 3
# What file systems need beside the bytes, above all for small files.
RESERVE = 512 << 20


def noise(seed, size):
    """Bytes that depend only on the seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def write_shard(path, tensor, size):
    """One tensor that fills the file to its exact size."""

    def header(length):
        entry = {tensor: {"dtype": "BF16", "shape": [length // 2], "data_offsets": [0, length]}}
        return json.dumps(entry).encode().ljust(256)

    length = size - 8 - 256
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 256) + header(length))
        for start in range(0, length, CHUNK):
            file.write(noise(f"{tensor} {start}", min(CHUNK, length - start)))


def shards(directory, size):
    """Four safetensors shards, and twenty small files."""
    weight_map = {}
    for shard in range(1, SHARDS + 1):
        name, tensor = f"model-{shard:05}-of-{SHARDS:05}.safetensors", f"model.layers.{shard - 1}.weight"
        write_shard(directory / name, tensor, size // SHARDS)
        weight_map[tensor] = name

    def write_json(name, value):
        (directory / name).write_text(json.dumps(value, indent=2) + "\n")

    write_json("model.safetensors.index.json", {"metadata": {"total_size": size - SHARDS * 264}, "weight_map": weight_map})
    write_json("config.json", {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"})
    write_json("tokenizer.json", {"version": "1.0", "model": {"type": "BPE", "vocab": {f"token{i}": i for i in range(4096)}}})
    for number in range(16):
        write_json(f"extra_{number:02}.json", {"number": number, "noise": noise(f"extra {number}", 512).hex()})
    (directory / "README.md").write_text("# A model of noise\n\nFor transfer tests only.\n")


def one_file(directory, size):
    """One safetensors file."""
    write_shard(directory / "model.safetensors", "model.weight", size)


def small_files(directory, _):
    """Files of 4 KiB, of a type that no program looks into."""
    for number in range(SMALL_FILES):
        (directory / f"{number:05}.txt").write_text(noise(f"small file {number}", SMALL_FILE // 2).hex())


def main(model, directory, gib):
    directory, size = pathlib.Path(directory), int(gib) << 30
    write = {"shards": shards, "file": one_file, "small-files": small_files}.get(model)
    if write is None:
        sys.exit(f"no such model: {model}; there are shards, file and small-files")
    needed = RESERVE + (0 if write is small_files else COPIES * size)
    free = shutil.disk_usage(directory.parent).free
    if free < needed:
        sys.exit(f"{directory.parent} has {free >> 20} MiB of free space, but the benchmark needs {needed >> 20} MiB")
    directory.mkdir()
    write(directory, size)


if __name__ == "__main__":
    main(*sys.argv[1:])
