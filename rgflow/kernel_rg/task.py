r"""The data set of a point, drawn once from ``data_seed`` and the same for every run, and its kernels.

Rows of X are samples. Drawing is pure: the same key gives the same float64 NumPy arrays, whatever the caller's setting.
Inputs have unit variance per component (digits by scaling, all others by construction), so that kernels have a diagonal
near $\sigma^2$. Key: li2021.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from rgflow.kernel_rg.problem import ArrayLike, Number, check_positive
from rgflow.types import Config, Key

DATA = ("teacher", "templates", "random", "digits")
DIGIT_PIXELS = 64
DIGIT_IMAGES = 360
CLASSES = (0, 1)
"""The two digits that are told apart; there are 360 images of them."""


class Dataset(NamedTuple):
    """Inputs and labels of training points, and the same of test points."""

    inputs: Float[np.ndarray, "P N0"]
    targets: Float[np.ndarray, " P"]
    test_inputs: Float[np.ndarray, "tests N0"]
    test_targets: Float[np.ndarray, " tests"]


class Kernels(NamedTuple):
    """What the theory is given: the kernel of training points, of test with training points, of test points alone."""

    kernel: Float[np.ndarray, "P P"]
    cross: Float[np.ndarray, "tests P"]
    diag: Float[np.ndarray, " tests"]


def input_kernels(inputs: Num[ArrayLike, "P N0"], test_inputs: Num[ArrayLike, "tests N0"], sigma2: Number) -> Kernels:
    r"""Returns $K_0 = (\sigma^2/N_0) X X^T$ and the kernels of test points, in float64 on the host.

    Raises ValueError unless ``sigma2`` is positive.

    >>> kernels = input_kernels(np.eye(2), np.array([[2.0, 0.0]]), sigma2=0.5)
    >>> kernels.kernel.tolist(), kernels.cross.tolist(), kernels.diag.tolist()
    ([[0.25, 0.0], [0.0, 0.25]], [[0.5, 0.0]], [1.0])
    """
    check_positive("sigma2", sigma2)
    train, test = np.asarray(inputs, np.float64), np.asarray(test_inputs, np.float64)
    unit = sigma2 / train.shape[1]
    return Kernels(unit * train @ train.T, unit * test @ train.T, np.diag(unit * test @ test.T).copy())


def draw_data(config: Config) -> Dataset:
    """Returns the training and test points of a config, labels multiplied by ``label_scale``.

    A pool of ``data_pool`` training points is drawn and the first ``num_train`` of them are used: more training points
    mean the same points and some more, and test points and teacher stay as they are.
    """
    key = jax.random.key(config.data_seed)
    sizes = (max(config.data_pool, config.num_train), config.num_test)
    if config.data == "digits":
        drawn = digits(key, *sizes)
    elif config.data == "templates":
        drawn = template_clusters(key, *sizes, config.num_inputs, config.num_templates, config.template_noise)
    elif config.data == "random":
        drawn = random_labels(key, *sizes, config.num_inputs)
    else:
        drawn = noisy_linear_teacher(key, *sizes, config.num_inputs, config.label_noise)
    factor, kept = config.label_scale, config.num_train
    return Dataset(drawn.inputs[:kept], factor * drawn.targets[:kept], drawn.test_inputs, factor * drawn.test_targets)


def padded(array: np.ndarray, *shape: int) -> np.ndarray:
    """Returns an array in float32 in the corner of zeros of the given shape.

    >>> padded(np.ones((1, 2)), 2, 3).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    missing = [(0, wanted - have) for wanted, have in zip(shape, array.shape, strict=True)]
    return np.pad(np.asarray(array, np.float32), missing)


def noisy_linear_teacher(
    key: Key, num_train: int, num_test: int, num_inputs: int, label_noise: Number = 0.1
) -> Dataset:
    r"""Returns inputs x ~ N(0, I), labels $y = w \cdot x/\sqrt{N_0} + \epsilon$, w ~ N(0, I), $\epsilon$ of given sd.

    Test labels are those of the teacher without noise.

    >>> data = noisy_linear_teacher(jax.random.key(0), num_train=3, num_test=2, num_inputs=5, label_noise=0.0)
    >>> data.inputs.shape, data.test_targets.shape, data.inputs.dtype.name
    ((3, 5), (2,), 'float64')

    Ref: li2021 (noisy linear teacher).
    """
    with jax.enable_x64(True):
        input_key, teacher_key, noise_key = jax.random.split(key, 3)
        inputs = jax.random.normal(input_key, (num_train + num_test, num_inputs), jnp.float64)
        teacher = jax.random.normal(teacher_key, (num_inputs,), jnp.float64)
        clean = inputs @ teacher / np.sqrt(num_inputs)
        noise = label_noise * jax.random.normal(noise_key, (num_train,), jnp.float64)
        return _split(inputs, clean, num_train)._replace(targets=np.asarray(clean[:num_train] + noise))


def template_clusters(
    key: Key, num_train: int, num_test: int, num_inputs: int, num_templates: int = 4, noise: Number = 0.5
) -> Dataset:
    r"""Returns $x = \sqrt{1 - \gamma^2}\, c + \gamma \eta$ around templates c ~ N(0, I), labels +1 and -1 by template.

    Templates alternate in label and are chosen uniformly for each point; ``noise`` is $\gamma$ in [0, 1] and $\eta$ ~
    N(0, I).

    >>> data = template_clusters(jax.random.key(0), num_train=8, num_test=2, num_inputs=5)
    >>> sorted(set(np.abs(data.targets).tolist()))
    [1.0]

    Ref: li2021 (template data).
    """
    with jax.enable_x64(True):
        template_key, choice_key, noise_key = jax.random.split(key, 3)
        count = num_train + num_test
        templates = jax.random.normal(template_key, (num_templates, num_inputs), jnp.float64)
        choice = jax.random.randint(choice_key, (count,), 0, num_templates)
        spread = jax.random.normal(noise_key, (count, num_inputs), jnp.float64)
        inputs = np.sqrt(1 - noise**2) * templates[choice] + noise * spread
        return _split(inputs, 1.0 - 2.0 * (choice % 2), num_train)


def random_labels(key: Key, num_train: int, num_test: int, num_inputs: int) -> Dataset:
    """Returns inputs x ~ N(0, I) and labels +1 or -1 that have nothing to do with them, as a control.

    >>> sorted(set(np.abs(random_labels(jax.random.key(0), 8, 2, 5).targets).tolist()))
    [1.0]
    """
    with jax.enable_x64(True):
        input_key, label_key = jax.random.split(key)
        inputs = jax.random.normal(input_key, (num_train + num_test, num_inputs), jnp.float64)
        labels = jax.random.rademacher(label_key, (num_train + num_test,), jnp.float64)
        return _split(inputs, labels, num_train)


def digits(key: Key, num_train: int, num_test: int) -> Dataset:
    r"""Returns 8 x 8 images of two handwritten digits, drawn without replacement, labels +1 (zeros) and -1 (ones).

    The images are the copy of the UCI optical digits in scikit-learn. Pixels are centred over the images in use and
    scaled to unit mean square: $|x|^2/N_0$ is 1 on average, $N_0 = 64$.
    """
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    wanted = np.isin(labels, CLASSES)
    images, labels = images[wanted], labels[wanted]
    images = images - images.mean(axis=0)
    images = images / np.sqrt(np.mean(images**2))
    targets = np.where(labels == CLASSES[0], 1.0, -1.0)
    order = np.asarray(jax.random.permutation(key, len(labels)))[: num_train + num_test]
    return _split(images[order], targets[order], num_train)


def _split(
    inputs: Float[Array | np.ndarray, "count N0"], targets: Float[Array | np.ndarray, " count"], num_train: int
) -> Dataset:
    # NumPy arrays: outside an x64 block JAX would round them to float32 at the first operation.
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    return Dataset(inputs[:num_train], targets[:num_train], inputs[num_train:], targets[num_train:])
