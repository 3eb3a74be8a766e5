"""Where the time of a learning step goes, kernel by kernel and product by product: microseconds.

On the published network in float32 at batch 100, of one network and of 64 replicas. Each is
recorded ten times in a row and repeated, so that no launch is in the numbers; a step's own nodes
overlap, and lie some microsecond apart.
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
from gpu_targets import BATCH, images, network

IN_A_ROW, REPLAYS = 10, 5


def asked_for(backend):
    """What a step asks of the device, in order: names, and what does it."""
    stack, device = backend._network, backend._device
    asked = []

    def launch(kernel, how, plan, argument):
        name = f"{kernel} {argument}: {how.blocks} x {how.threads}, S = {how.samples}"
        asked.append((name, partial(type(device).launch, device, kernel, how, plan, argument)))

    def multiply(p):
        name = f"product {p.rows} x {p.inner} x {p.columns}, {p.count} of them"
        asked.append((name, partial(type(device).multiply, device, p)))

    data = backend.place(*images(BATCH), 255).kept
    workspace = stack.bind(data, np.arange(BATCH)[None])
    device.launch, device.multiply = launch, multiply
    device.beside = lambda works: [work() for work in works]
    stack.learning_step(workspace)
    del device.launch, device.multiply, device.beside
    return asked


def main():
    """Print and write the times."""
    found = {}
    for replicas in (1, 64):
        backend = network("cupy", replicas=replicas)
        device, times = backend._device, {}
        for name, call in asked_for(backend):

            def again(call=call):
                for _ in range(IN_A_ROW):
                    call()

            backend._network.set_step(0)
            seconds = device.seconds(device.record(again), REPLAYS) / IN_A_ROW
            times[name] = times.get(name, 0) + 1e6 * seconds
            print(f"{1e6 * seconds:8.1f}  {name}", flush=True)
        print(f"{sum(times.values()):8.1f}  in all, {replicas} replicas", flush=True)
        found[replicas] = {name: round(us, 2) for name, us in times.items()}
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
