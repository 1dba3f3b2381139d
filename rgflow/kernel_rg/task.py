"""The data set of a point: drawn once from ``data_seed``, the same for every chain, nested in the number of points."""

import jax
import numpy as np

from rgflow.kernel_rg import data
from rgflow.kernel_rg.data import Dataset
from rgflow.types import Config

DATA = ("teacher", "templates", "random", "digits")
DIGIT_PIXELS = 64
DIGIT_IMAGES = 360
CLASSES = (0, 1)
"""The two digits that are told apart; there are 360 images of them."""


def draw_data(config: Config) -> Dataset:
    """Returns the training and test points of a config, labels multiplied by ``label_scale``.

    A pool of ``data_pool`` training points is drawn and the first ``num_train`` of them are used: more training points
    mean the same points and some more, and test points and teacher stay as they are. Raises ValueError for sizes that
    the data cannot have.
    """
    key = jax.random.key(config.data_seed)
    sizes = (max(config.data_pool, config.num_train), config.num_test)
    if config.data == "digits":
        drawn = data.digits(key, *sizes, CLASSES)
    elif config.data == "templates":
        drawn = data.template_clusters(key, *sizes, config.num_inputs, config.num_templates, config.template_noise)
    elif config.data == "random":
        drawn = data.random_labels(key, *sizes, config.num_inputs)
    else:
        drawn = data.noisy_linear_teacher(key, *sizes, config.num_inputs, config.label_noise)
    factor, kept = config.label_scale, config.num_train
    return Dataset(drawn.inputs[:kept], factor * drawn.targets[:kept], drawn.test_inputs, factor * drawn.test_targets)


def padded(array: np.ndarray, *shape: int) -> np.ndarray:
    """Returns an array in float32 in the corner of zeros of the given shape.

    >>> padded(np.ones((1, 2)), 2, 3).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    missing = [(0, wanted - have) for wanted, have in zip(shape, array.shape, strict=True)]
    return np.pad(np.asarray(array, np.float32), missing)
