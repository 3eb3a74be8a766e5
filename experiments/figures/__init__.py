"""The paper's figures, and some that it does not have, each with its data and its checks."""

from .catalogue import FIGURES, figure_maker
from .figure_files import write_figure
from .figure_result import Check, FigureResult

__all__ = ["FIGURES", "Check", "FigureResult", "figure_maker", "write_figure"]
