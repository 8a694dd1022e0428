//! The feature flags of the application: in the metrics, and in the field `flags` of `/health/detailed`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Serialize;
use wellkept_config::{FlagBoard, FlagState};
use wellkept_telemetry::metrics::Audience;

use super::Doors;
use crate::collect::{self, FlagCollector};

/// Where the flags are, once there are some.
#[derive(Debug, Default)]
pub(super) struct FlagsHandle(OnceLock<FlagBoard>);

/// One flag.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FlagShown {
    /// What becomes of each variant, by name: `true` and `false` of a switch.
    variants: BTreeMap<&'static str, VariantShown>,
    /// How many keys the configuration names.
    named_keys: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct VariantShown {
    /// The part of all keys that gets it, from 0 to 1; keys that are named aside.
    ratio: f64,
    /// How often it was the answer, since the process counts.
    evaluations: u64,
}

impl Doors {
    /// Shows these feature flags in the metrics (`wellkept_feature_flag_…`) and to operators in `/health/detailed`. Only
    /// the first call counts.
    pub fn show_flags(&self, board: &FlagBoard) {
        if self.inner.flags.0.set(board.clone()).is_ok() {
            collect::add(&self.inner.metrics, "flags", FlagCollector(board.clone()), Audience::Operators);
        }
    }

    pub(super) fn flags(&self) -> BTreeMap<&'static str, FlagShown> {
        let states = self.inner.flags.0.get().map(FlagBoard::states).unwrap_or_default();
        states.into_iter().map(|flag| (flag.name, flag.into())).collect()
    }
}

impl From<FlagState> for FlagShown {
    fn from(flag: FlagState) -> Self {
        let variant =
            |one: &wellkept_config::VariantState| VariantShown { ratio: one.ratio, evaluations: one.evaluations_total };
        Self {
            variants: flag.variants.iter().map(|one| (one.name, variant(one))).collect(),
            named_keys: flag.named_keys,
        }
    }
}
