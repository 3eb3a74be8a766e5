"""All deliberate mistakes, in the order in which they were listed."""

from . import faults_of_dynamics, faults_of_feedback, faults_of_learning, faults_of_losses
from .fault import FAULTS, Fault, StagedBackend

LISTED = (faults_of_dynamics, faults_of_feedback, faults_of_losses, faults_of_learning)
"""Each lists its own on import."""

__all__ = ["FAULTS", "LISTED", "Fault", "StagedBackend"]
