//! Amounts of bytes as Kubernetes writes them.

/// The suffixes of a quantity and their factors, see
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
const SUFFIXES: [(&str, f64); 14] = [
    ("", 1.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// The bytes of a quantity, rounded up, for example of `512Mi` or `20G`. `None`: it is none, or negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a conversion of f64 saturates")]
pub fn bytes(quantity: &str) -> Option<u64> {
    let is_of_number = |character: char| character.is_ascii_digit() || ".+-".contains(character);
    let end = quantity.find(|character| !is_of_number(character)).unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let factor = SUFFIXES.iter().find(|(name, _)| *name == suffix).map(|(_, factor)| *factor);
    let exponent = || suffix.strip_prefix(['e', 'E'])?.parse().ok().map(|exponent: i32| 10_f64.powi(exponent));
    let bytes = number.parse::<f64>().ok()? * factor.or_else(exponent)?;
    (bytes.is_finite() && bytes >= 0.0).then(|| bytes.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_kubernetes_are_read() {
        for (quantity, expected) in [
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129E6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("123Mi", Some(128_974_848)),
            ("1.5Gi", Some(1_610_612_736)),
            ("20G", Some(20_000_000_000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("0", Some(0)),
            ("0.5", Some(1)),
            ("", None),
            ("Gi", None),
            ("-1Gi", None),
            ("1 Gi", None),
            ("1gi", None),
            ("1e", None),
            ("1e999", None),
            ("nan", None),
        ] {
            assert_eq!(bytes(quantity), expected, "{quantity}");
        }
    }
}
