//! What was measured, as a table: a line for each figure, a column for each way, and ratios.

use crate::site::Way;

/// The figures of one part, in the order in which they were first measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    what: String,
    values: Vec<(Way, Vec<f64>)>,
}

impl Table {
    pub(crate) fn add(&mut self, what: &str, way: Way, value: f64) {
        if !self.0.iter().any(|row| row.what == what) {
            self.0.push(Row { what: what.to_owned(), values: Vec::new() });
        }
        let Some(row) = self.0.iter_mut().find(|row| row.what == what) else { return };
        match row.values.iter_mut().find(|(other, _)| *other == way) {
            Some((_, values)) => values.push(value),
            None => row.values.push((way, vec![value])),
        }
    }

    /// Medians, and their ratios to Docker's own bridge.
    pub(crate) fn print(&self) {
        print!("\n{:<40}", "medians");
        for way in Way::ALL {
            print!("{:>12}", way.name());
        }
        for way in Way::OURS {
            print!("{:>14}", format!("{} / own", way.name()));
        }
        println!("{:>5}", "of");
        for row in &self.0 {
            print!("{:<40}", row.what);
            let of = |way| row.values.iter().find(|(other, _)| *other == way);
            let middle = |way| of(way).map(|(_, values)| median(values));
            for way in Way::ALL {
                print!("{:>12}", middle(way).map(|it| format!("{it:.1}")).unwrap_or_default());
            }
            for way in Way::OURS {
                let ratio = middle(way).zip(middle(Way::OwnBridge)).map(|(it, own)| it / own);
                print!("{:>14}", ratio.map(|it| format!("{it:.2}")).unwrap_or_default());
            }
            println!("{:>5}", of(Way::OwnBridge).map_or(0, |(_, values)| values.len()));
        }
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
