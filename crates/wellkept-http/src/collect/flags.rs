//! Feature flags as metrics: which part of all keys gets which variant, and how often each was the answer.

use wellkept_config::FlagBoard;
use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

use super::families;

/// Each flag, by its name.
#[derive(Debug)]
pub(crate) struct FlagCollector(pub(crate) FlagBoard);

families! { FAMILIES:
    RATIO = gauge "wellkept_feature_flag_ratio" ["flag", "variant"],
        "The part of all keys that gets a variant of a flag, from 0 to 1; keys that are named aside.";
    KEYS = gauge "wellkept_feature_flag_keys" ["flag"], "Keys that the configuration of a flag names.";
    EVALUATIONS = counter "wellkept_feature_flag_evaluations" ["flag", "variant"],
        "How often a flag was asked, by the variant that was the answer.";
}

impl Collector for FlagCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let flags = self.0.states();
        let variants: Vec<_> =
            flags.iter().flat_map(|flag| flag.variants.iter().map(|one| ([flag.name, one.name], one))).collect();
        out.family(&RATIO).samples(variants.iter().map(|(labels, one)| (*labels, one.ratio)));
        out.family(&KEYS).samples(flags.iter().map(|flag| ([flag.name], flag.named_keys as f64)));
        out.family(&EVALUATIONS).samples(variants.iter().map(|(labels, one)| (*labels, one.evaluations_total as f64)));
    }
}
