//! Medians and quartiles, and how many digits of them mean anything.

/// The median of some figures, and the quartiles around it.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let at = share * figures.len().saturating_sub(1) as f64;
            let value = |index: f64| figures.get(index as usize).copied().unwrap_or(f64::NAN);
            value(at.floor()) + (value(at.ceil()) - value(at.floor())) * at.fract()
        };
        Self { median: quantile(0.5), low: quantile(0.25), high: quantile(0.75) }
    }

    /// Such as `1.15 (1.12 to 1.19)`.
    pub fn ratio(self) -> String {
        self.text(|figure| if figure.abs() < 9.95 { format!("{figure:.2}") } else { format!("{figure:.1}") })
    }

    /// Such as `+14.1 us (13.8 to 14.6)`.
    pub fn added(self) -> String {
        let sign = |figure: f64| if figure < 0.0 { "" } else { "+" };
        let Self { median, low, high } = self;
        format!(
            "{}{} us ({}{} to {}{})",
            sign(median),
            microseconds(median),
            sign(low),
            microseconds(low),
            sign(high),
            microseconds(high)
        )
    }

    fn text(self, figure: impl Fn(f64) -> String) -> String {
        format!("{} ({} to {})", figure(self.median), figure(self.low), figure(self.high))
    }
}

/// Three digits, no more.
pub fn microseconds(figure: f64) -> String {
    match figure.abs() {
        below if below < 99.95 => format!("{figure:.1}"),
        below if below < 999.5 => format!("{figure:.0}"),
        _ => format!("{:.0}", figure / 10.0) + "0",
    }
}
