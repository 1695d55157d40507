//! How likely it is that a pattern is only chance: upper bounds, so that doubt never makes a pattern surer than it is.

/// The natural logarithm of the chance that at least `hits` of `trials` events fall into a part into which each falls with
/// the chance `share`: at most this much (Chernoff and Hoeffding).
pub(super) fn ln_binomial_tail(hits: f64, trials: f64, share: f64) -> f64 {
    if trials <= 0.0 || hits <= trials * share {
        return 0.0;
    }
    let seen = (hits / trials).min(1.0);
    let missed = if seen < 1.0 { (1.0 - seen) * ((1.0 - seen) / (1.0 - share)).ln() } else { 0.0 };
    -trials * (seen * (seen / share).ln() + missed)
}

/// The natural logarithm of the chance that at most `hits` events happen where `mean` of them are expected: at most this
/// much (Chernoff).
pub(super) fn ln_poisson_deficit(hits: f64, mean: f64) -> f64 {
    if hits >= mean {
        return 0.0;
    }
    let hits = hits.max(0.0);
    if hits == 0.0 { -mean } else { hits - mean + hits * (mean / hits).ln() }
}

/// How sure a pattern is that chance would make with this probability, after so many looks: 0 to 0.999. Nothing here is
/// certain.
pub(super) fn confidence(ln_chance: f64, looks: f64) -> f64 {
    let chance = (ln_chance + looks.max(1.0).ln()).exp();
    let sure = (1.0 - chance).clamp(0.0, 0.999);
    (sure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chance of at least `hits` of `trials`, summed term by term.
    fn exact(hits: u32, trials: u32, share: f64) -> f64 {
        let choose = |n: u32, k: u32| (1..=k).map(|i| f64::from(n - k + i) / f64::from(i)).product::<f64>();
        (hits..=trials)
            .map(|k| choose(trials, k) * share.powf(f64::from(k)) * (1.0 - share).powf(f64::from(trials - k)))
            .sum()
    }

    #[test]
    fn the_bound_is_never_below_the_chance_and_close_to_it_in_its_exponent() {
        for (hits, trials, share) in [(8, 8, 0.1), (8, 20, 0.05), (30, 60, 0.2), (5, 100, 0.04), (90, 100, 0.5)] {
            let (bound, exact) = (ln_binomial_tail(hits.into(), trials.into(), share), exact(hits, trials, share).ln());
            assert!(bound >= exact - 1e-9, "{hits} of {trials} at {share}: {bound} is below {exact}");
            assert!(bound <= exact * 0.6 + 0.5, "{hits} of {trials} at {share}: {bound} is far from {exact}");
        }
    }

    #[test]
    fn what_is_expected_is_no_surprise() {
        assert_eq!(ln_binomial_tail(5.0, 100.0, 0.05), 0.0);
        assert_eq!(ln_binomial_tail(0.0, 0.0, 0.5), 0.0);
        assert_eq!(ln_poisson_deficit(5.0, 5.0), 0.0);
        assert_eq!(confidence(0.0, 1.0), 0.0);
    }

    #[test]
    fn more_looks_make_less_sure_and_nothing_is_certain() {
        assert_eq!(confidence(-1e6, 1.0), 0.999);
        assert!((confidence(0.01_f64.ln(), 10.0) - 0.9).abs() < 1e-9);
        assert_eq!(confidence(0.01_f64.ln(), 1000.0), 0.0);
    }

    #[test]
    fn few_where_many_are_expected_are_a_surprise() {
        assert!((ln_poisson_deficit(0.0, 10.0) + 10.0).abs() < 1e-9);
        let exact = (0..=2).map(|k| (-10.0_f64).exp() * 10_f64.powi(k) / [1.0, 1.0, 2.0][k as usize]).sum::<f64>().ln();
        assert!(ln_poisson_deficit(2.0, 10.0) >= exact);
    }
}
