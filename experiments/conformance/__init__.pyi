from .conform_commands import (
    conform_backend as conform_backend,
    conform_each_other as conform_each_other,
    hand_out_questions as hand_out_questions,
    judge_answers as judge_answers,
    record as record,
    record_standard as record_standard,
    show_tolerances as show_tolerances,
)
from .report import ReportFiles as ReportFiles
