//! A retry budget: retries may be a share of the calls and no more, so that they don't multiply an overload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use super::{Protection, ProtectionState};

/// What retries are paid from: each call pays a share of a retry in, each retry takes a whole one out. Cheap to clone:
/// clones are the same budget.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// In thousandths of a retry, as all amounts here.
    saved: AtomicU64,
    per_call: u64,
    most: u64,
    refused: AtomicU64,
}

const WHOLE: u64 = 1000;

/// The budget is used up: retrying now would add to the overload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the retry budget is used up")]
pub struct RetryRefused;

impl RetryBudget {
    /// `share` of the calls may be retried, from 0 to 1 in thousandths; at most `most` retries are saved up, with which
    /// it begins. What is outside is taken as the nearer limit.
    pub fn new(share: f64, most: u32) -> Self {
        let per_call = (share.clamp(0.0, 1.0) * WHOLE as f64).round();
        // From 0 to 1000, and 0 for what is no number.
        let per_call = (0..=WHOLE).rev().find(|whole| *whole as f64 <= per_call).unwrap_or(0);
        let most = u64::from(most) * WHOLE;
        let inner = Inner { saved: AtomicU64::new(most), per_call, most, refused: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// Pays in for a call that is no retry.
    pub fn call(&self) {
        let Inner { saved, per_call, most, .. } = &*self.inner;
        let paid_in = |saved: u64| Some(saved.saturating_add(*per_call).min(*most));
        // It always has a value to store.
        let _ = saved.fetch_update(Ordering::AcqRel, Ordering::Acquire, paid_in);
    }

    /// Takes out for a retry, or refuses it.
    pub fn retry(&self) -> Result<(), RetryRefused> {
        let Inner { saved, refused, .. } = &*self.inner;
        let taken = saved.fetch_update(Ordering::AcqRel, Ordering::Acquire, |saved| saved.checked_sub(WHOLE));
        taken.map(drop).map_err(|_left| {
            refused.fetch_add(1, Ordering::Relaxed);
            RetryRefused
        })
    }
}

impl Protection for RetryBudget {
    fn state(&self) -> ProtectionState {
        let Inner { saved, most, refused, .. } = &*self.inner;
        let retries = |amount: u64| u32::try_from(amount / WHOLE).unwrap_or(u32::MAX);
        ProtectionState::RetryBudget {
            left: retries(saved.load(Ordering::Acquire)),
            most: retries(*most),
            refused: refused.load(Ordering::Relaxed),
        }
    }
}
