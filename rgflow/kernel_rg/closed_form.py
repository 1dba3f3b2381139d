r"""The one case with a closed posterior: one hidden layer at T = 0, a generalised inverse Gaussian law of its scale.

$p(u | Y) \propto u^{p-1} e^{-(a u + b/u)/2}$ with $a = N/\sigma^2$, $b = \rho r_0$, $p = (N - \rho)/2$. Its moments
are ratios of Bessel functions, taken by their recursion from an order below one, so that no order and no argument
overflows.
"""

import math

from scipy.special import kve

from rgflow.kernel_rg.problem import Number, check_positive


def one_layer_moment(power: int, label_norm: Number, rank: int, width: int, sigma2: Number) -> float:
    r"""Return $\langle u^k \rangle = (b/a)^{k/2} K_{p+k}(\sqrt{ab}) / K_p(\sqrt{ab})$ for any whole power k.

    ``label_norm`` is $r_0 = Y^T K_0^+ Y/\rho$ and ``rank`` $\rho$. Raises ValueError unless all but ``power`` are
    positive.

    >>> round(one_layer_moment(1, label_norm=2.0, rank=8, width=10, sigma2=1.0), 10)
    1.4176628216

    Ref: standard (generalised inverse Gaussian law).
    """
    for name, value in (("label_norm", label_norm), ("rank", rank), ("width", width), ("sigma2", sigma2)):
        check_positive(name, value)
    ratio = sigma2 * rank * label_norm / width
    argument = math.sqrt(width * rank * label_norm / sigma2)
    order = width - rank
    logs = [_log_ratio(order + 2 * i, argument) for i in range(min(power, 0), max(power, 0))]
    return math.exp(power / 2 * math.log(ratio) + math.copysign(1.0, power) * math.fsum(logs))


def _log_ratio(twice_order: int, argument: float) -> float:
    r"""Return $\ln K_{\nu+1}(x)/K_\nu(x)$ for $2\nu$ a whole number.

    Upwards from an order in [0, 1) the recursion $K_{\nu+1}/K_\nu = 2\nu/x + K_{\nu-1}/K_\nu$ adds positive terms only;
    negative orders follow from $K_{-\nu} = K_\nu$.
    """
    if twice_order == -1:
        return 0.0
    if twice_order < -1:
        return -_log_ratio(-twice_order - 2, argument)
    start = (twice_order % 2) / 2
    ratio = float(kve(start + 1, argument) / kve(start, argument))
    for step in range(1, twice_order // 2 + 1):
        ratio = 2 * (start + step) / argument + 1 / ratio
    return math.log(ratio)
