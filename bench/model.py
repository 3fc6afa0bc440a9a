"""Creates the benchmark's model: four incompressible safetensors shards of 512 MiB, and twenty small files. The bytes are the same each time.

Usage: model.py DIRECTORY
"""

import hashlib
import json
import pathlib
import struct
import sys

SHARDS = 4
SHARD = 512 << 20
CHUNK = 1 << 20


def noise(seed, size):
    """Bytes that depend only on the seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def write_shard(path, tensor, size=SHARD):
    """One tensor that fills the file to its exact size."""

    def header(length):
        entry = {tensor: {"dtype": "BF16", "shape": [length // 2], "data_offsets": [0, length]}}
        return json.dumps(entry).encode().ljust(256)

    length = size - 8 - 256
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 256) + header(length))
        for start in range(0, length, CHUNK):
            file.write(noise(f"{tensor} {start}", min(CHUNK, length - start)))


def main(directory):
    directory = pathlib.Path(directory)
    directory.mkdir()
    weight_map = {}
    for shard in range(1, SHARDS + 1):
        name, tensor = f"model-{shard:05}-of-{SHARDS:05}.safetensors", f"model.layers.{shard - 1}.weight"
        write_shard(directory / name, tensor)
        weight_map[tensor] = name

    def write_json(name, value):
        (directory / name).write_text(json.dumps(value, indent=2) + "\n")

    write_json("model.safetensors.index.json", {"metadata": {"total_size": SHARDS * (SHARD - 264)}, "weight_map": weight_map})
    write_json("config.json", {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"})
    write_json("tokenizer.json", {"version": "1.0", "model": {"type": "BPE", "vocab": {f"token{i}": i for i in range(4096)}}})
    for number in range(16):
        write_json(f"extra_{number:02}.json", {"number": number, "noise": noise(f"extra {number}", 512).hex()})
    (directory / "README.md").write_text("# A model of noise\n\nFor transfer tests only.\n")


if __name__ == "__main__":
    main(sys.argv[1])
