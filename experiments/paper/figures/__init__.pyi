from .catalogue import (
    FIGURES as FIGURES,
    FORMATS as FORMATS,
    Check as Check,
    FigureResult as FigureResult,
    Finding as Finding,
    figure_maker as figure_maker,
    make_figures as make_figures,
    refuse_no_date as refuse_no_date,
    write_figure as write_figure,
)
