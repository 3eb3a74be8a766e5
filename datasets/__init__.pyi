from .dataset import (
    SPLITS as SPLITS,
    Dataset as Dataset,
    DatasetError as DatasetError,
    Split as Split,
    batch_order as batch_order,
    dataset_digest as dataset_digest,
    order_digest as order_digest,
    random_generator as random_generator,
    softened_labels as softened_labels,
)
from .load import DATASETS as DATASETS, digits as digits, load_dataset as load_dataset
from .own_file import (
    is_own_file as is_own_file,
    own_dataset as own_dataset,
    read_own_file as read_own_file,
)
from .tensorflow_datasets_source import is_tfds_name as is_tfds_name
