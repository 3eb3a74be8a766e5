from .bench_command import write_benchmark as write_benchmark
from .cases import Choice as Choice
