"""Is there a device on which anything can be computed at all? The first step of `make gpu-check`.

A product against NumPy's, the same product recorded and repeated, ten learning steps.
"""

import sys
import time

import numpy as np

from disinhib.backends import backend_class
from disinhib.backends.cuda.cublas import Product
from disinhib.backends.cuda.device import CupyDevice
from disinhib.refimpl import NetworkConfiguration, Solver, initial_parameters

dtype = np.dtype(sys.argv[1])
began = time.perf_counter()
device = CupyDevice(dtype)
print(f"ready after {time.perf_counter() - began:.1f} s", flush=True)

generator = np.random.default_rng(0)
A, B = generator.random((5, 7)).astype(dtype), generator.random((7, 3)).astype(dtype)
a, b, c = device.put(A), device.put(B), device.empty(15, dtype)
product = Product(5, 7, 3, *(device.address(array) for array in (a, b, c)), 0, 0, 0)
device.multiply(product)
np.testing.assert_allclose(device.get(c).reshape(5, 3), A @ B, rtol=1e-6)
again = device.record(lambda: device.multiply(product))
device.put(2 * A, into=a)
again()
np.testing.assert_allclose(device.get(c).reshape(5, 3), 2 * A @ B, rtol=1e-6)
print("a product, and one that was recorded, equal NumPy's", flush=True)

sizes = (784, 256, 256, 256, 10)
learners = []
for name in ("cupy", "numpy"):
    backend = backend_class(name)(
        NetworkConfiguration(sizes=sizes),
        initial_parameters(sizes, np.random.default_rng(1)),
        dtype,
        Solver(),
    )
    data = np.random.default_rng(2)
    x, y = data.random((1000, 784)), np.eye(10)[data.integers(0, 10, 1000)] * 0.98 + 0.01 / 9
    metrics = backend.train(backend.place(x, y), np.arange(1000).reshape(10, 100))
    learners.append((metrics.loss, backend.learner().parameters.readout))
    print(f"{name}: losses {metrics.loss[0]:.6f} to {metrics.loss[-1]:.6f}", flush=True)
np.testing.assert_allclose(learners[0][0], learners[1][0], rtol=1e-4)
print(f"ten steps learn what NumPy's learn; {time.perf_counter() - began:.1f} s in all")
