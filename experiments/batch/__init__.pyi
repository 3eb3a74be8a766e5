from .batch_command import (
    batch as batch,
    draw_batch as draw_batch,
    print_best as print_best,
    run_batch as run_batch,
    run_worker as run_worker,
    show_status as show_status,
    show_table as show_table,
)
from .results import (
    batch_figure as batch_figure,
    batch_table as batch_table,
    finished_runs as finished_runs,
)
from .study import Study as Study, read_study as read_study
