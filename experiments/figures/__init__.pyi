from .catalogue import (
    FIGURES as FIGURES,
    figure_maker as figure_maker,
)
from .figure_files import (
    FORMATS as FORMATS,
    refuse_no_date as refuse_no_date,
    write_figure as write_figure,
)
from .figure_result import (
    Check as Check,
    FigureResult as FigureResult,
)
