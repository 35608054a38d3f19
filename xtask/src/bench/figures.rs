//! Medians and their neighbours, as a table and as JSON.

use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// One round of one contender.
pub(super) struct Sample {
    pub(super) up: Duration,
    pub(super) down: Duration,
}

/// All rounds of one contender.
pub(super) struct Figures {
    name: &'static str,
    up: Spread,
    down: Spread,
}

/// A median with the tenth and the ninetieth of a hundred, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) p10: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

impl Spread {
    /// Not a number when there are no times.
    pub(super) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<f64> = times
            .into_iter()
            .map(|time| time.as_secs_f64() * 1e3)
            .collect();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank; an even number of times takes the upper of the two in the middle.
        let at = |tenths: usize| {
            sorted
                .get(sorted.len() * tenths / 10)
                .or(sorted.last())
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self {
            p10: at(1),
            median: at(5),
            p90: at(9),
        }
    }
}

impl Figures {
    pub(super) fn of(name: &'static str, samples: &[Sample]) -> Self {
        Self {
            name,
            up: Spread::of(samples.iter().map(|sample| sample.up)),
            down: Spread::of(samples.iter().map(|sample| sample.down)),
        }
    }
}

/// Prints the table, with ratios to the first row, and writes it as JSON below `folder`.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn report(figures: &[Figures], rounds: usize, folder: &Path) -> Result<()> {
    print(&table(figures, rounds));
    let spread = |s: &Spread| json!({"p10_ms": s.p10, "median_ms": s.median, "p90_ms": s.p90});
    let value = json!({
        "rounds": rounds,
        "contenders": figures.iter().map(|f| json!({"name": f.name, "up": spread(&f.up), "down": spread(&f.down)})).collect::<Vec<_>>(),
    });
    write("stand.json", &value, folder)
}

/// Writes a value for programs, beside the table for people.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(name: &str, value: &serde_json::Value, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(name);
    std::fs::write(&path, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn table(figures: &[Figures], rounds: usize) -> String {
    let mut text = format!(
        "stand of 3 nodes, {rounds} interleaved rounds, milliseconds: median (p10, p90) and times the first row\n"
    );
    for figure in figures {
        let cell = |spread: &Spread, first: Option<&Spread>| {
            let ratio = first.map_or(f64::NAN, |first| spread.median / first.median);
            format!(
                "{:8.1} ({:.1}, {:.1}) x{ratio:.1}",
                spread.median, spread.p10, spread.p90
            )
        };
        text.push_str(&format!(
            "{:24} up {:36} down {}\n",
            figure.name,
            cell(&figure.up, figures.first().map(|f| &f.up)),
            cell(&figure.down, figures.first().map(|f| &f.down)),
        ));
    }
    text
}

/// Says something on stdout: it is what the chore was asked for.
#[expect(
    clippy::print_stdout,
    reason = "the figures are the data of this chore"
)]
pub(crate) fn print(text: &str) {
    println!("{}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_made_of_times_that_were_measured() {
        let ten = (1..=10).rev().map(Duration::from_millis);
        assert_eq!(
            Spread::of(ten),
            Spread {
                p10: 2.0,
                median: 6.0,
                p90: 10.0
            }
        );
        assert_eq!(Spread::of([Duration::from_millis(3)]).p90, 3.0);
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn the_table_tells_ratios_to_the_first_row() {
        let sample = |up, down| {
            [Sample {
                up: Duration::from_millis(up),
                down: Duration::from_millis(down),
            }]
        };
        let figures = [
            Figures::of("limit", &sample(4, 1)),
            Figures::of("other", &sample(10, 3)),
        ];
        let text = table(&figures, 1);
        assert!(
            text.lines()
                .nth(2)
                .unwrap()
                .contains("10.0 (10.0, 10.0) x2.5"),
            "{text}"
        );
        assert!(
            text.lines()
                .nth(2)
                .unwrap()
                .ends_with("3.0 (3.0, 3.0) x3.0"),
            "{text}"
        );
    }
}
