from .arrays import (
    FileError as FileError,
    dataset_of_numbers as dataset_of_numbers,
    find_group as find_group,
    named_arrays as named_arrays,
    parameters_from as parameters_from,
    read_array as read_array,
    read_numbers as read_numbers,
    read_parameters as read_parameters,
    write_parameters as write_parameters,
)
from .hdf5 import (
    is_of_schema as is_of_schema,
    objects as objects,
    read_json as read_json,
    read_seconds as read_seconds,
    read_text as read_text,
    read_whole as read_whole,
    refuse_other_schema as refuse_other_schema,
)
from .signed_file import (
    DIGEST as DIGEST,
    check_digest as check_digest,
    reading as reading,
    refuse_all_but_files as refuse_all_but_files,
    write_signed_file as write_signed_file,
)
