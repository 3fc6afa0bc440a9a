"""Measures planning and inference for a model of 100 large shards, compared with `stat`. See README.md.

Usage: plan.py WORK ROUNDS MODELPACK
"""

import json
import os
import pathlib
import statistics
import struct
import sys

import measure

SHARDS = 100
SHARD = 5_000_000_000
TENSORS = 300


def write_shard(path, number):
    """A header of realistic length in a sparse file without tensor data."""
    elements = SHARD // 2 // TENSORS
    tensors = {
        f"model.layers.{number}.block_sparse_moe.experts.{at}.w{at % 3}.weight": {
            "dtype": "BF16",
            "shape": [elements],
            "data_offsets": [at * elements * 2, (at + 1) * elements * 2],
        }
        for at in range(TENSORS)
    }
    header = json.dumps(tensors).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + TENSORS * elements * 2)


def write_model(directory):
    directory.mkdir()
    for number in range(1, SHARDS + 1):
        write_shard(directory / f"model-{number:05}-of-{SHARDS:05}.safetensors", number)
    config = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "max_position_embeddings": 32768}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Large\n\nA sparse model for planning tests.\n")


def main(work, rounds, modelpack):
    work, rounds, modelpack = pathlib.Path(work), int(rounds), pathlib.Path(modelpack).resolve()
    model = work / "model"
    write_model(model)
    contenders = {
        "stat": ["find", model, "-type", "f", "-printf", "%s\n"],
        "modelpack pack": [modelpack, "--quiet", "--store", work / "store", "pack", "--dry-run", model],
        "modelpack version": [modelpack, "version"],
    }
    taken = {who: [] for who in contenders}
    for turn in range(rounds):
        for who in sorted(contenders, reverse=turn % 2 == 1):
            taken[who].append(measure.run(contenders[who]))

    def median(who, figure):
        return statistics.median(getattr(usage, figure) for usage in taken[who])

    print(f"{SHARDS} shards of {SHARD // 10**9} GB, {TENSORS} tensors each; {os.cpu_count()} cores, {rounds} rounds\n")
    print(f"{'':<20}{'wall s':>8}{'/ stat':>8}{'CPU s':>8}{'MiB':>6}")
    for who in contenders:
        wall, cpu, memory = (median(who, figure) for figure in ("wall", "cpu", "memory"))
        print(f"{who:<20}{wall:>8.3f}{wall / median('stat', 'wall'):>8.1f}{cpu:>8.3f}{memory:>6.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
