//! The sums of all stops by system and cell: kept in a file, continued after an interruption, shown as a table.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::cells::Cell;
use super::tally::Seen;
use crate::serve::System;

const HEAD: &str = "system,cell,stops,unclean,answered,told_to_retry,other,unprocessed,refused,never_accepted,lost,\
                    stops_with_loss,most_lost,longest_ms";

/// One stop.
pub(super) struct Stop {
    /// From the signal to the end of the process.
    pub(super) took: Duration,
    /// Whether the process ended by itself, in time.
    pub(super) cleanly: bool,
    pub(super) seen: Seen,
}

/// The figures after the two names, in the order of the head.
type Sums = [u64; 12];

pub(super) struct Ledger {
    file: Option<PathBuf>,
    rows: BTreeMap<(String, String), Sums>,
}

impl Ledger {
    pub(super) fn in_memory() -> Self {
        Self { file: None, rows: BTreeMap::new() }
    }

    /// With what is in the file; delete it to begin anew.
    pub(super) fn open() -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results").join("stop.csv");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let rows = text.lines().skip(1).map(|line| {
            let mut fields = line.split(',').map(str::to_owned);
            let names = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let figures: Vec<u64> = fields.map(|field| field.parse().expect("figures are numbers")).collect();
            (names, figures.try_into().expect("a line has as many figures as the head"))
        });
        Self { rows: rows.collect(), file: Some(file) }
    }

    pub(super) fn stops(&self, system: System, cell: Cell) -> u32 {
        let [stops, ..] = self.of(system, cell);
        u32::try_from(stops).unwrap_or(u32::MAX)
    }

    pub(super) fn add(&mut self, system: System, cell: Cell, stop: &Stop) {
        let [stops, unclean, answered, told, other, unprocessed, refused, unaccepted, lost, with_loss, most, longest] =
            self.of(system, cell);
        let seen = &stop.seen;
        let took = u64::try_from(stop.took.as_millis()).unwrap_or(u64::MAX);
        let sums = [
            stops + 1,
            unclean + u64::from(!stop.cleanly),
            answered + seen.answered,
            told + seen.told_to_retry,
            other + seen.other,
            unprocessed + seen.unprocessed,
            refused + seen.refused,
            unaccepted + seen.never_accepted,
            lost + seen.lost,
            with_loss + u64::from(seen.lost > 0),
            most.max(seen.lost),
            longest.max(took),
        ];
        self.rows.insert((system.name().to_owned(), cell.name()), sums);
        self.write();
    }

    fn of(&self, system: System, cell: Cell) -> Sums {
        self.rows.get(&(system.name().to_owned(), cell.name())).copied().unwrap_or_default()
    }

    fn write(&self) {
        let Some(file) = &self.file else { return };
        let mut lines = vec![HEAD.to_owned()];
        lines.extend(self.rows.iter().map(|((system, cell), sums)| {
            let figures = sums.map(|figure| figure.to_string()).join(",");
            format!("{system},{cell},{figures}")
        }));
        let text = lines.join("\n") + "\n";
        let folder = file.parent().expect("a file is in a folder");
        // Written beside it first, so that an interruption leaves one or the other.
        let beside = file.with_extension("new");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&beside, text))
            .and_then(|()| fs::rename(&beside, file))
            .expect("the results can be written");
    }

    /// One line for each cell with what each system lost, and what else there is to say of all of them.
    pub(super) fn table(&self, systems: &[System], cells: &[Cell]) -> String {
        let row = |head: &str, of: &dyn Fn(System) -> String| {
            let figures: Vec<String> = systems.iter().map(|&system| of(system)).collect();
            format!("| {head} | {} |\n", figures.join(" | "))
        };
        let total = |system| {
            cells.iter().map(|&cell| self.of(system, cell)).fold(Sums::default(), |mut all, one| {
                for (sum, (figure, name)) in all.iter_mut().zip(one.iter().zip(HEAD.split(',').skip(2))) {
                    let is_most = name.starts_with("most") || name.starts_with("longest");
                    *sum = if is_most { (*sum).max(*figure) } else { *sum + *figure };
                }
                all
            })
        };
        let lost = |sums: Sums| {
            let [stops, .., lost, with_loss, most, _] = sums;
            match lost {
                0 => format!("0 in {stops}"),
                lost => format!("{lost} in {with_loss} of {stops}, at most {most}"),
            }
        };
        let mut rows = vec![row("protocol, connections, think time", &|system| system.name().to_owned())];
        rows.push(format!("|---|{}\n", "---|".repeat(systems.len())));
        rows.extend(cells.iter().map(|&cell| row(&cell.text(), &|system| lost(self.of(system, cell)))));
        rows.push(row("all: requests lost, in how many stops", &|system| lost(total(system))));
        for (figure, what) in [
            (2, "requests answered"),
            (3, "told to retry: 503 with `Retry-After`"),
            (5, "HTTP/2 streams that were never processed, which may be sent again"),
            (7, "sent to the system's queue, never accepted"),
            (1, "did not leave within 8 s, or not well"),
            (11, "longest from the signal to the end, ms"),
        ] {
            rows.push(row(what, &|system| total(system).get(figure).copied().unwrap_or(0).to_string()));
        }
        rows.concat()
    }
}
