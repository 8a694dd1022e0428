//! Claims about what protects calls, and what its components say.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::circuit::{CircuitBreaker, CircuitState};
use crate::outcome::Verdict;
use proptest::prelude::*;
use serde_json::Value;
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

fn told(protection: &impl Protection) -> (Verdict, String, Value) {
    let outcome = protection.state().outcome();
    let reason = outcome.reason().map_or("pass", Reason::as_str);
    (outcome.verdict(), format!("{reason}: {}", outcome.message()), outcome.metadata().clone().into())
}

fn circuit() -> CallCircuit {
    CallCircuit::new("payments", CircuitBreaker::new().failures(2).first(10 * SECOND).most(15 * SECOND)).unwrap()
}

async fn fail(circuit: &CallCircuit) -> Result<(), CallError<&'static str>> {
    circuit.call(async { Err("refused") }).await
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_made_while_the_circuit_is_open_and_one_decides_afterwards() {
    let circuit = circuit();
    assert_eq!(told(&circuit).0, Verdict::Pass);
    assert_eq!(fail(&circuit).await, Err(CallError::Failed("refused")));
    assert_eq!(circuit.standing().failures, 1);
    assert_eq!(fail(&circuit).await, Err(CallError::Failed("refused")));
    let (verdict, said, metadata) = told(&circuit);
    assert_eq!((verdict, said.as_str()), (Verdict::Fail, "circuit_open: the circuit is open"));
    assert_eq!(metadata["circuit"]["state"], "open");
    let calls = AtomicU32::new(0);
    let call = async || circuit.call(async { Ok::<_, &str>(calls.fetch_add(1, Ordering::Relaxed)) }).await;
    let refused = call().await.unwrap_err();
    assert!(matches!(&refused, CallError::Open(standing) if standing.next_attempt_in.unwrap() <= 10 * SECOND));
    assert_eq!((refused.code(), calls.load(Ordering::Relaxed)), ("circuit.open", 0));
    advance(10 * SECOND).await;
    let trial = circuit.admit().unwrap();
    assert_eq!(told(&circuit).1, "circuit_open: the circuit is being tried");
    assert!(matches!(call().await, Err(CallError::Open(_))), "one is tried at a time");
    trial.worked();
    assert_eq!(call().await, Ok(0));
    assert_eq!(told(&circuit).0, Verdict::Pass);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_says_nothing() {
    let circuit = circuit();
    for _ in 0..5 {
        let call = circuit.call(std::future::pending::<Result<(), ()>>());
        assert!(tokio::time::timeout(SECOND, call).await.is_err());
    }
    assert_eq!((circuit.standing().state, circuit.standing().failures), (CircuitState::Closed, 0));
}

#[test]
fn a_circuit_that_can_not_be_kept_is_refused() {
    let refused = CallCircuit::new("payments", CircuitBreaker::new().failures(0)).unwrap_err();
    assert!(refused.to_string().contains("at least 1 failure"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_lets_few_wait_and_refuses_the_others() {
    let bulkhead = Bulkhead::new(2, 1);
    let first = bulkhead.enter(Duration::ZERO).await.unwrap();
    assert_eq!(told(&bulkhead).0, Verdict::Pass);
    let _second = bulkhead.enter(Duration::ZERO).await.unwrap();
    let waits = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.enter(10 * SECOND).await.is_some() }
    });
    tokio::task::yield_now().await;
    assert!(bulkhead.enter(10 * SECOND).await.is_none(), "one waits already");
    let full = (Verdict::Warn, "exhausted: all places are taken".to_owned());
    let (verdict, said, metadata) = told(&bulkhead);
    assert_eq!((verdict, said), full);
    assert_eq!(metadata["bulkhead"], json!({ "in_use": 2, "limit": 2, "waiting": 1, "refused": 1 }));
    drop(first);
    assert!(waits.await.unwrap());
}

#[test]
fn retries_are_a_share_of_the_calls_and_no_more() {
    let budget = RetryBudget::new(0.1, 3);
    for _ in 0..3 {
        budget.retry().unwrap();
    }
    assert_eq!(budget.retry(), Err(RetryRefused));
    assert_eq!(told(&budget).1, "exhausted: the retries are used up");
    for _ in 0..10 {
        assert_eq!(budget.retry(), Err(RetryRefused));
        budget.call();
    }
    assert_eq!((budget.retry(), budget.retry()), (Ok(()), Err(RetryRefused)));
    let (_, _, metadata) = told(&budget);
    assert_eq!(metadata["retry_budget"], json!({ "left": 0, "most": 3, "refused": 12 }));
}

proptest! {
    #[test]
    fn no_sequence_retries_more_than_it_may(share in 0.0_f64..1.0, most in 0_u32..20, steps in prop::collection::vec(any::<bool>(), 0..200)) {
        let budget = RetryBudget::new(share, most);
        let (mut calls, mut retries) = (0_u32, 0_u32);
        for is_call in steps {
            if is_call {
                budget.call();
                calls += 1;
            } else if budget.retry().is_ok() {
                retries += 1;
            }
            prop_assert!(f64::from(retries) <= f64::from(most) + f64::from(calls) * (share + 0.001));
        }
    }
}
