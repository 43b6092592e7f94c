#!/usr/bin/env python3
"""What N Djaffar servers and S shards of ClickHouse take together, second by second.

    benches/scale/simulate.py                  the table of docs/scale.md
    benches/scale/simulate.py --rate 1000000 --nodes 40 --shards 6

A node answers as fast as its cores allow and puts activities into its spool; its drain takes a
batch a second or, when it is behind, as large a batch as it may, and gives each shard its part; a
shard takes one block after the other. Rates come from docs/performance.md, by the CPU that an
activity costs; what is assumed is an option. No randomness: queues, not luck, decide here.
"""

import argparse

BATCH = 32_768


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=int, help="activities a second, over all nodes")
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--cores", type=int, default=8, help="of each machine")
    parser.add_argument("--answer", type=float, default=40, help="us of CPU to answer one")
    parser.add_argument("--drain", type=float, default=3, help="us of CPU to drain one")
    parser.add_argument("--insert", type=float, default=5, help="us of a shard's CPU for a row")
    parser.add_argument("--merge", type=float, default=2, help="times more, for merges")
    parser.add_argument("--block", type=float, default=20, help="ms of a shard for each block")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--bytes", type=int, default=400, help="of a row on the network")
    parser.add_argument("--seconds", type=int, default=600)
    return parser.parse_args()


def simulate(given, rate, nodes, shards):
    """Whether it keeps up, and what is the busiest."""
    answers = given.cores * 0.8 / (given.answer * 1e-6)
    drains = 1 / (given.drain * 1e-6)
    row = given.insert * 1e-6 * (1 + given.merge)
    waiting = [0.0] * nodes
    busy = [0.0] * shards
    refused = most = blocks = 0.0
    for _ in range(given.seconds):
        for node in range(nodes):
            came = min(rate / nodes, answers)
            refused += rate / nodes - came
            waiting[node] += came
        # Every node in turn has the shards take its parts; a shard works a second a second.
        left = [float(given.cores)] * shards
        turns = nodes
        drained = [0.0] * nodes
        while turns:
            turns = 0
            for node in range(nodes):
                size = min(waiting[node], BATCH, drains - drained[node])
                cost = size / shards * row + given.block * 1e-3
                if size < 1 or min(left) < cost:
                    continue
                left = [rest - cost for rest in left]
                waiting[node] -= size
                drained[node] += size
                blocks += shards
                turns += 1
        for shard in range(shards):
            busy[shard] += 1 - left[shard] / given.cores
        most = max(most, sum(waiting))
    return {
        "refused": refused / given.seconds,
        "behind": sum(waiting) / (rate or 1),
        "most": most,
        "answering": min(rate / nodes / answers, 1),
        "draining": rate / nodes / drains,
        "shard": sum(busy) / shards / given.seconds,
        "parts": blocks / shards / given.seconds,
        "gigabits": rate / shards * given.bytes * given.replicas * 8 / 1e9,
    }


def show(given, rate, nodes, shards):
    result = simulate(given, rate, nodes, shards)
    keeps = result["refused"] < 1 and result["behind"] < 3
    print(
        f"| {rate:,} | {nodes} | {shards} | {result['answering']:.0%} | {result['draining']:.0%} "
        f"| {result['shard']:.0%} | {result['parts']:.0f} | {result['gigabits']:.2f} "
        f"| {'yes' if keeps else 'no'}, {result['behind']:.0f} s behind |"
    )


def main():
    given = arguments()
    print("| activities a second | nodes | shards | answering | draining | shards' CPU "
          "| parts a second and shard | Gbit/s a shard | keeps up after ten minutes |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    if given.rate:
        show(given, given.rate, given.nodes or 1, given.shards or 1)
        return
    for rate, nodes, shards in [
        (10_000, 1, 1),
        (100_000, 1, 1),
        (100_000, 2, 1),
        (300_000, 3, 1),
        (1_000_000, 6, 1),
        (1_000_000, 8, 2),
        (1_000_000, 8, 3),
        (1_000_000, 8, 4),
    ]:
        show(given, rate, nodes, shards)


if __name__ == "__main__":
    main()
