"""Names of the radiomics features: FAMILY_feature_CODE, with the code and the short tag of the standard.

Zwanenburg et al., Radiology 295 (2020), and the reference manual of the image biomarker standardisation initiative
(IBSI). Importing this file imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature: `family` and `code` as in `FEATURES`, and its `tag` in the tables of reference values."""

    family: str
    code: str
    tag: str


_DISTRIBUTION = (
    ("mean", "Q4LE", "X6K6", "mean"),
    ("variance", "ECT3", "CH89", "var"),
    ("skewness", "KE2A", "88K1", "skew"),
    ("kurtosis", "IPH6", "C3I7", "kurt"),
    ("median", "Y12H", "WIFQ", "median"),
    ("minimum", "1GSF", "1PR8", "min"),
    ("p10", "QG58", "GPMT", "p10"),
    ("p90", "8DWT", "OZ0C", "p90"),
    ("maximum", "84IY", "3NCY", "max"),
    ("interquartile_range", "SALO", "WR0O", "iqr"),
    ("range", "2OJQ", "5Z3W", "range"),
    ("mean_absolute_deviation", "4FUA", "D2ZX", "mad"),
    ("robust_mean_absolute_deviation", "1128", "WRZB", "rmad"),
    ("median_absolute_deviation", "N72L", "4RNL", "medad"),
    ("coefficient_of_variation", "7TET", "CWYJ", "cov"),
    ("quartile_coefficient_of_dispersion", "9S40", "SLWD", "qcod"),
)

_ROWS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "stat": (
        *((name, code, tag) for name, code, _, tag in _DISTRIBUTION),
        ("energy", "N8CA", "energy"),
        ("root_mean_square", "5ZWQ", "rms"),
    ),
    "ih": (
        *((name, code, tag) for name, _, code, tag in _DISTRIBUTION),
        ("mode", "AMMC", "mode"),
        ("entropy", "TLU2", "entropy"),
        ("uniformity", "BJ5W", "uniformity"),
        ("maximum_gradient", "12CE", "max_grad"),
        ("maximum_gradient_level", "8E6O", "max_grad_g"),
        ("minimum_gradient", "VQB3", "min_grad"),
        ("minimum_gradient_level", "RHQZ", "min_grad_g"),
    ),
    "ivh": (
        ("volume_at_10_percent_intensity", "BC2M", "v10"),
        ("volume_at_90_percent_intensity", "BC2M", "v90"),
        ("intensity_at_10_percent_volume", "GBPN", "i10"),
        ("intensity_at_90_percent_volume", "GBPN", "i90"),
        ("volume_difference_10_90", "DDTU", "diff_v10_v90"),
        ("intensity_difference_10_90", "CNV2", "diff_i10_i90"),
        ("area_under_curve", "9CMM", "auc"),
    ),
    "glcm": (
        ("joint_maximum", "GYBY", "joint_max"),
        ("joint_average", "60VM", "joint_avg"),
        ("joint_variance", "UR99", "joint_var"),
        ("joint_entropy", "TU9B", "joint_entr"),
        ("difference_average", "TF7R", "diff_avg"),
        ("difference_variance", "D3YU", "diff_var"),
        ("difference_entropy", "NTRS", "diff_entr"),
        ("sum_average", "ZGXS", "sum_avg"),
        ("sum_variance", "OEEB", "sum_var"),
        ("sum_entropy", "P6QZ", "sum_entr"),
        ("angular_second_moment", "8ZQL", "energy"),
        ("contrast", "ACUI", "contrast"),
        ("dissimilarity", "8S9J", "dissimilarity"),
        ("inverse_difference", "IB1Z", "inv_diff"),
        ("normalised_inverse_difference", "NDRX", "inv_diff_norm"),
        ("inverse_difference_moment", "WF0Z", "inv_diff_mom"),
        ("normalised_inverse_difference_moment", "1QCO", "inv_diff_mom_norm"),
        ("inverse_variance", "E8JP", "inv_var"),
        ("correlation", "NI2N", "corr"),
        ("autocorrelation", "QWB0", "auto_corr"),
        ("cluster_tendency", "DG8W", "clust_tend"),
        ("cluster_shade", "7NFM", "clust_shade"),
        ("cluster_prominence", "AE86", "clust_prom"),
        ("information_correlation_1", "R8DG", "info_corr1"),
        ("information_correlation_2", "JN9H", "info_corr2"),
    ),
    "glrlm": (
        ("short_runs_emphasis", "22OV", "sre"),
        ("long_runs_emphasis", "W4KF", "lre"),
        ("low_grey_level_run_emphasis", "V3SW", "lgre"),
        ("high_grey_level_run_emphasis", "G3QZ", "hgre"),
        ("short_run_low_grey_level_emphasis", "HTZT", "srlge"),
        ("short_run_high_grey_level_emphasis", "GD3A", "srhge"),
        ("long_run_low_grey_level_emphasis", "IVPO", "lrlge"),
        ("long_run_high_grey_level_emphasis", "3KUM", "lrhge"),
        ("grey_level_non_uniformity", "R5YN", "glnu"),
        ("normalised_grey_level_non_uniformity", "OVBL", "glnu_norm"),
        ("run_length_non_uniformity", "W92Y", "rlnu"),
        ("normalised_run_length_non_uniformity", "IC23", "rlnu_norm"),
        ("run_percentage", "9ZK5", "r_perc"),
        ("grey_level_variance", "8CE5", "gl_var"),
        ("run_length_variance", "SXLW", "rl_var"),
        ("run_entropy", "HJ9O", "rl_entr"),
    ),
    "glszm": (
        ("small_zone_emphasis", "5QRC", "sze"),
        ("large_zone_emphasis", "48P8", "lze"),
        ("low_grey_level_zone_emphasis", "XMSY", "lgze"),
        ("high_grey_level_zone_emphasis", "5GN9", "hgze"),
        ("small_zone_low_grey_level_emphasis", "5RAI", "szlge"),
        ("small_zone_high_grey_level_emphasis", "HW1V", "szhge"),
        ("large_zone_low_grey_level_emphasis", "YH51", "lzlge"),
        ("large_zone_high_grey_level_emphasis", "J17V", "lzhge"),
        ("grey_level_non_uniformity", "JNSA", "glnu"),
        ("normalised_grey_level_non_uniformity", "Y1RO", "glnu_norm"),
        ("zone_size_non_uniformity", "4JP3", "zsnu"),
        ("normalised_zone_size_non_uniformity", "VB3A", "zsnu_norm"),
        ("zone_percentage", "P30P", "z_perc"),
        ("grey_level_variance", "BYLV", "gl_var"),
        ("zone_size_variance", "3NSA", "zs_var"),
        ("zone_size_entropy", "GU8N", "zs_entr"),
    ),
    "gldzm": (
        ("small_distance_emphasis", "0GBI", "sde"),
        ("large_distance_emphasis", "MB4I", "lde"),
        ("low_grey_level_zone_emphasis", "S1RA", "lgze"),
        ("high_grey_level_zone_emphasis", "K26C", "hgze"),
        ("small_distance_low_grey_level_emphasis", "RUVG", "sdlge"),
        ("small_distance_high_grey_level_emphasis", "DKNJ", "sdhge"),
        ("large_distance_low_grey_level_emphasis", "A7WM", "ldlge"),
        ("large_distance_high_grey_level_emphasis", "KLTH", "ldhge"),
        ("grey_level_non_uniformity", "VFT7", "glnu"),
        ("normalised_grey_level_non_uniformity", "7HP3", "glnu_norm"),
        ("zone_distance_non_uniformity", "V294", "zdnu"),
        ("normalised_zone_distance_non_uniformity", "IATH", "zdnu_norm"),
        ("zone_percentage", "VIWW", "z_perc"),
        ("grey_level_variance", "QK93", "gl_var"),
        ("zone_distance_variance", "7WT1", "zd_var"),
        ("zone_distance_entropy", "GBDU", "zd_entr"),
    ),
    "ngtdm": (
        ("coarseness", "QCDE", "coarseness"),
        ("contrast", "65HE", "contrast"),
        ("busyness", "NQ30", "busyness"),
        ("complexity", "HDEZ", "complexity"),
        ("strength", "1X9X", "strength"),
    ),
    "ngldm": (
        ("low_dependence_emphasis", "SODN", "lde"),
        ("high_dependence_emphasis", "IMOQ", "hde"),
        ("low_grey_level_count_emphasis", "TL9H", "lgce"),
        ("high_grey_level_count_emphasis", "OAE7", "hgce"),
        ("low_dependence_low_grey_level_emphasis", "EQ3F", "ldlge"),
        ("low_dependence_high_grey_level_emphasis", "JA6D", "ldhge"),
        ("high_dependence_low_grey_level_emphasis", "NBZI", "hdlge"),
        ("high_dependence_high_grey_level_emphasis", "9QMG", "hdhge"),
        ("grey_level_non_uniformity", "FP8K", "glnu"),
        ("normalised_grey_level_non_uniformity", "5SPA", "glnu_norm"),
        ("dependence_count_non_uniformity", "Z87G", "dcnu"),
        ("normalised_dependence_count_non_uniformity", "OKJI", "dcnu_norm"),
        ("dependence_count_percentage", "6XV8", "dc_perc"),
        ("grey_level_variance", "1PFV", "gl_var"),
        ("dependence_count_variance", "DNX2", "dc_var"),
        ("dependence_count_entropy", "FCBV", "dc_entr"),
        ("dependence_count_energy", "CAS9", "dc_energy"),
    ),
}

_PREFIX = {"glcm": "cm", "glrlm": "rlm", "glszm": "szm", "gldzm": "dzm", "ngtdm": "ngt", "ngldm": "ngl"}

NAMES = MappingProxyType(
    {family: tuple(f"{family}_{name}_{code}" for name, code, _ in rows) for family, rows in _ROWS.items()}
)
"""Family → names of its features, in the order of the standard; every function returns them in this order."""

FEATURES = MappingProxyType(
    {
        name: Feature(family=family, code=code, tag=f"{_PREFIX.get(family, family)}_{tag}")
        for family, rows in _ROWS.items()
        for name, (_, code, tag) in zip(NAMES[family], rows, strict=True)
    }
)
"""Name → its family, IBSI code and tag, for every feature of intensity and texture."""


def named(family: str, values: Sequence[float]) -> dict[str, float]:
    """Values in the order of `NAMES[family]`, keyed by name."""
    return {name: float(value) for name, value in zip(NAMES[family], values, strict=True)}
