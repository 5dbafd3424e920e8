//! What can be said from some windows: a middle, and how sure it is.

/// A mean, or a median, with the bounds between which the true one lies with a chance of 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The ratio of two costs that were measured in pairs of neighbouring windows: the geometric mean of the pairs' ratios, with
/// the t interval of their logarithms. What disturbs both windows of a pair alike cancels out.
///
/// None with fewer than two pairs.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Option<Estimate> {
    let logs: Vec<_> = pairs.iter().map(|(cost, base)| (cost / base).ln()).collect();
    let Estimate { mean, low, high } = mean(&logs)?;
    Some(Estimate { mean: mean.exp(), low: low.exp(), high: high.exp() })
}

/// The arithmetic mean with its t interval. None with fewer than two values.
pub(crate) fn mean(values: &[f64]) -> Option<Estimate> {
    if values.len() < 2 {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = t_975(count - 1.0) * (variance / count).sqrt();
    Some(Estimate { mean, low: mean - half, high: mean + half })
}

/// The median with bounds that need no assumption, whatever the outliers: two of the sorted values, between which the true
/// median lies with a chance of 95 % or more (by the binomial distribution). None with fewer than six values.
pub(crate) fn middle(values: &[f64]) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // How many values may lie below the lower bound: the chance of so few or fewer, of fair coins, must not exceed 2.5 %.
    let mut chance = 0.5_f64.powi(i32::try_from(sorted.len()).ok()?);
    let (mut total, mut rank) = (chance, 0);
    while total <= 0.025 {
        chance *= (sorted.len() - rank) as f64 / (rank + 1) as f64;
        total += chance;
        rank += 1;
    }
    let low = *sorted.get(rank.checked_sub(1)?)?;
    let high = *sorted.get(sorted.len() - rank)?;
    Some(Estimate { mean: median(values)?, low, high })
}

/// The middle value. None without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The 97.5 % quantile of Student's t distribution: Cornish and Fisher's expansion around the normal one, which is right to
/// three digits from ten degrees of freedom on.
fn t_975(freedom: f64) -> f64 {
    const Z: f64 = 1.959_964;
    let [z3, z5, z7] = [3, 5, 7].map(|power| Z.powi(power));
    Z + (z3 + Z) / (4.0 * freedom)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * freedom.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in [(10.0, 2.228), (19.0, 2.093), (23.0, 2.069), (100.0, 1.984)] {
            assert!((t_975(freedom) - quantile).abs() < 2e-3, "{freedom}: {}", t_975(freedom));
        }
    }

    #[test]
    fn what_disturbs_both_windows_of_a_pair_cancels_out() {
        let pairs: Vec<_> = (1..=20).map(|n| (2.0 * f64::from(n), f64::from(n))).collect();
        let Estimate { mean, low, high } = ratio(&pairs).unwrap();
        assert!([mean, low, high].iter().all(|value| (value - 2.0).abs() < 1e-9));
    }

    #[test]
    fn the_bounds_hold_for_95_of_100_samples() {
        use rand::rngs::StdRng;
        use rand::{RngExt as _, SeedableRng as _};
        let mut chance = StdRng::seed_from_u64(1);
        let held = (0..2000)
            .filter(|_| {
                // Sums of uniform values are nearly normal.
                let values: Vec<f64> = (0..20)
                    .map(|_| (0..12).map(|_| chance.random::<f64>()).sum::<f64>() - 6.0)
                    .collect();
                let Estimate { low, high, .. } = mean(&values).unwrap();
                (low..=high).contains(&0.0)
            })
            .count();
        assert!((1870..=1930).contains(&held), "{held} of 2000");
    }

    #[test]
    fn an_outlier_does_not_move_the_middle() {
        // Of twenty values the sixth and the fifteenth are the bounds in every table.
        let mut values: Vec<_> = (1..=20).map(f64::from).collect();
        assert_eq!(middle(&values), Some(Estimate { mean: 11.0, low: 6.0, high: 15.0 }));
        values[19] = 1e6;
        assert_eq!(middle(&values), Some(Estimate { mean: 11.0, low: 6.0, high: 15.0 }));
        assert_eq!(middle(&values[..5]), None);
        assert!(middle(&values[..6]).is_some());
    }

    #[test]
    fn one_window_says_nothing() {
        assert_eq!((ratio(&[(1.0, 1.0)]), mean(&[]), median(&[])), (None, None, None));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}
