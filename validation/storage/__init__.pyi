from .arrays import (
    FileError as FileError,
    dataset_of_numbers as dataset_of_numbers,
    find_group as find_group,
    named_arrays as named_arrays,
    not_finite as not_finite,
    parameters_from as parameters_from,
    read_array as read_array,
    read_numbers as read_numbers,
    read_parameters as read_parameters,
    write_parameters as write_parameters,
)
from .checkpoint import (
    Checkpoint as Checkpoint,
    OtherSizes as OtherSizes,
    Position as Position,
    Start as Start,
    contents as contents,
    newest_checkpoint as newest_checkpoint,
    read_checkpoint as read_checkpoint,
    read_start as read_start,
    write_checkpoint as write_checkpoint,
)
from .hdf5 import (
    is_of_schema as is_of_schema,
    objects as objects,
    read_json as read_json,
    read_seconds as read_seconds,
    read_text as read_text,
    read_texts as read_texts,
    read_whole as read_whole,
    refuse_other_schema as refuse_other_schema,
)
from .signed_file import (
    DIGEST as DIGEST,
    check_digest as check_digest,
    generations as generations,
    not_written as not_written,
    reading as reading,
    refuse_all_but_files as refuse_all_but_files,
    write_signed_file as write_signed_file,
)
