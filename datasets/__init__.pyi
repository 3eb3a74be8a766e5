from .batch_order import (
    batch_order as batch_order,
    order_digest as order_digest,
    random_generator as random_generator,
)
from .dataset import (
    Dataset as Dataset,
    DatasetError as DatasetError,
    Split as Split,
    dataset_digest as dataset_digest,
)
from .digits import digits as digits
from .labels import softened_labels as softened_labels
from .load import DATASETS as DATASETS, load_dataset as load_dataset
