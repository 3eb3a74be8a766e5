from .reading import Candidate as Candidate
from .trace import CircuitStep as CircuitStep, Trace as Trace, TraceTrajectory as TraceTrajectory
