"""Everything that must behave as the reference does."""

import pytest

from disinhib.backends import backend_class, backend_descriptions

from .cuda_on_cpu import COMPILER, cpu_backend, gpu_like_backend, why_no_gpu_rounding

CUDA_ON_CPU = "cuda-on-cpu"
GPU_LIKE = "cuda-on-cpu, rounding as a GPU"
NO_COMPILER = pytest.mark.skipif(COMPILER is None, reason="neither g++ nor clang++ is here")
AVAILABLE = [
    pytest.param(d.name, id=d.name, marks=[pytest.mark.gpu] if d.name == "cupy" else [])
    for d in backend_descriptions()
    # Integers have tests of their own: they have neither Adam nor replicas, and another precision.
    if not d.unavailable and not d.name.startswith("integer")
]
IMPLEMENTATIONS = [
    *AVAILABLE,
    pytest.param(CUDA_ON_CPU, id=CUDA_ON_CPU, marks=NO_COMPILER),
]

ON_CPU = [p.id for p in AVAILABLE if not p.marks] + [CUDA_ON_CPU] * (COMPILER is not None)
ON_CPU += [GPU_LIKE] * (not why_no_gpu_rounding())
JUDGED_TOGETHER = [
    pytest.param(ON_CPU, id="on a CPU"),
    *(pytest.param([p.id], id=p.id, marks=p.marks) for p in AVAILABLE if p.marks),
]
"""What rounding may do to a trace takes the longest to measure, and is the same for all."""


def implementation(name):
    """A backend class, or what builds as one would."""
    if name == GPU_LIKE:
        return gpu_like_backend()
    return cpu_backend() if name == CUDA_ON_CPU else backend_class(name)
