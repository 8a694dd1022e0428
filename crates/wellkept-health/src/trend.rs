//! What the past of a component adds up to: availability, response times, which way they go, what runs out when.

mod bucket;
mod budget;
mod direction;
mod forecast;
mod ledger;
mod sketch;
mod tier;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub use bucket::{Bucket, MinutePart};
pub use budget::{Footprint, Retention};
pub use direction::{Course, Direction};
pub use forecast::{Forecast, Outlook};
pub(crate) use ledger::{Ledger, Seen};
pub use sketch::Sketch;
pub use tier::Tier;
pub use window::{Brief, Percentiles, Runs, Seconds, Span, Window};

use crate::history::StatusChange;
use direction::Point;

/// Readings older than this are not projected.
const PROJECTED: i64 = 168;

/// What one component's past adds up to, as of one instant.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Trend {
    /// The component's name.
    #[schemars(with = "String")]
    pub component: Arc<str>,
    /// The end of all windows: the latest look at the component's status.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The windows by their names.
    pub windows: Windows,
    /// When what may run out does so; `None` for a component without such a reading.
    pub forecast: Option<Forecast>,
    /// When what the component watches ends by itself, such as a certificate: a date, no forecast.
    #[schemars(with = "Option<String>")]
    pub ends_at: Option<Timestamp>,
    /// The latest status changes with their causes, newest first.
    pub changes: Vec<StatusChange>,
}

impl Trend {
    /// Whether nothing at all is known of the component's last 30 days.
    pub fn is_empty(&self) -> bool {
        let month = &self.windows.month;
        self.changes.is_empty() && month.observed == 0.0 && month.runs == Runs::default()
    }
}

/// The windows of a [`Trend`].
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Windows {
    /// The last hour, by minutes.
    #[serde(rename = "1h")]
    pub hour: Window,
    /// The last 24 hours, by ten minutes.
    #[serde(rename = "24h")]
    pub day: Window,
    /// The last 7 days, by hours.
    #[serde(rename = "7d")]
    pub week: Window,
    /// The last 30 days, by hours.
    #[serde(rename = "30d")]
    pub month: Window,
}

/// What was read of one component's past, before it is added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past {
    /// Buckets by slot, for each tier that a window asked for.
    pub(crate) tiers: [BTreeMap<i64, Bucket>; Tier::ALL.len()],
    /// How many slots of each tier the store keeps.
    pub(crate) kept: [i64; Tier::ALL.len()],
    /// What is in no tier yet, oldest first.
    pub(crate) open: Vec<MinutePart>,
    pub(crate) changes: Vec<StatusChange>,
    pub(crate) reading: Option<&'static str>,
}

impl Past {
    /// Adds it up.
    pub(crate) fn sum_up(self, component: &str, at: Timestamp) -> Trend {
        let window = |span: Span| {
            let tier = span.tier(&self.kept);
            Window::of(span, tier, at, &self.slots(tier))
        };
        Trend {
            component: component.into(),
            at,
            windows: Windows {
                hour: window(Span::Hour),
                day: window(Span::Day),
                week: window(Span::Week),
                month: window(Span::Month),
            },
            forecast: self.reading.and_then(|reading| self.forecast(reading, at)),
            ends_at: None,
            changes: self.changes,
        }
    }

    /// Adds up what a list shows.
    pub(crate) fn brief(&self, at: Timestamp) -> Brief {
        let [day, month] = Brief::SPANS.map(|span| span.tier(&self.kept));
        Brief::of(at, (day, &self.slots(day)), (month, &self.slots(month)))
    }

    /// A tier's slots with what is in no tier yet.
    fn slots(&self, tier: Tier) -> BTreeMap<i64, Bucket> {
        let mut slots = self.tiers.get(tier as usize).cloned().unwrap_or_default();
        for part in &self.open {
            slots.entry(tier.slot_of_minute(part.minute)).or_default().join(&part.bucket, tier);
        }
        slots
    }

    /// By hours of the last week, or by ten minutes as long as there are few hours.
    fn forecast(&self, reading: &'static str, at: Timestamp) -> Option<Forecast> {
        let readings = |tier: Tier, slots: i64| -> Vec<Point> {
            let first = tier.slot(at) - slots;
            let kept = self.slots(tier);
            let points = kept.range(first..).filter_map(|(slot, bucket)| Some((*slot, bucket.remaining()?)));
            points.map(|(slot, value)| (((slot * tier.millis()) / 1000) as f64, value)).collect()
        };
        let by_hour = readings(Tier::Hour, PROJECTED);
        let by_ten_minutes = readings(Tier::TenMinutes, Span::Day.slots(Tier::TenMinutes));
        let is_young = by_hour.len() < 24 && !by_ten_minutes.is_empty();
        let (tier, points) = if is_young { (Tier::TenMinutes, by_ten_minutes) } else { (Tier::Hour, by_hour) };
        Forecast::of(reading, &points, (tier.millis() / 1000) as f64, at.as_second() as f64)
    }
}

#[cfg(test)]
mod tests;
