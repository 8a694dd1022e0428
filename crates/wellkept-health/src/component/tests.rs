//! What may be registered, and what is warned of.

use super::*;

fn component(name: &str) -> Component {
    Component::new(name, AnyCheck::from_fn(async || ()))
}

#[test]
fn a_remote_check_is_refused_on_liveness_with_the_reason() {
    let error = component("db").groups([Group::Live]).validate().unwrap_err();
    assert_eq!(error.code(), "component.remote_liveness");
    assert!(error.to_string().contains("put it into `ready`"));
    component("loop").scope(Scope::Process).groups([Group::Live]).validate().unwrap();
}

#[test]
fn a_check_of_the_machine_is_refused_on_liveness_with_the_reason() {
    let error = component("disk").scope(Scope::Machine).groups([Group::Live]).validate().unwrap_err();
    assert_eq!(error.code(), "component.machine_liveness");
    assert!(error.to_string().contains("makes no room on a disk"));
    component("disk").scope(Scope::Machine).groups([Group::Ready, Group::Startup]).validate().unwrap();
}

#[test]
fn a_long_initial_delay_is_warned_of_where_the_start_waits_for_it() {
    let delayed = |seconds| {
        let initial_delay = Duration::from_secs(seconds);
        component("db").schedule(Schedule { initial_delay, ..Schedule::default() })
    };
    let warning = "component `db`: the service is not ready before its first run, which initial_delay puts off by \
                   300s; an optional component holds nothing up";
    assert_eq!(delayed(300).warnings(), [warning]);
    assert_eq!(delayed(60).warnings(), <[String; 0]>::default());
    for holds_nothing_up in [
        delayed(300).optional(),
        delayed(300).shared(true),
        delayed(300).groups(["orders".into()]),
        delayed(300).scope(Scope::Machine),
    ] {
        assert_eq!(holds_nothing_up.warnings(), <[String; 0]>::default());
    }
}

#[test]
fn hostile_names_are_refused_and_escaped() {
    for name in ["", "a\nb", "x".repeat(10_000).as_str(), "a\u{1b}[31m"] {
        let error = component(name).validate().unwrap_err();
        assert_eq!(error.code(), "component.name");
        assert!(error.to_string().len() < 400);
        assert!(!error.to_string().contains(['\n', '\u{1b}']));
    }
    component("quotes \" and spaces ü").validate().unwrap();
}

#[test]
fn groups_have_names_too_and_those_of_probes_are_told_apart() {
    for name in ["", "a\nb", "x".repeat(129).as_str()] {
        let error = component("db").groups([Group::Ready, Group::from(name)]).validate().unwrap_err();
        assert_eq!(error.code(), "component.setting");
    }
    let component = component("db").groups(["ready", "readiness", "orders"].map(Group::from));
    component.validate().unwrap();
    let warning = "component `db`: `readiness` is a group of your own; that probe sees `ready`";
    assert_eq!(component.warnings(), [warning]);
}

#[test]
fn remote_checks_stand_in_ready_and_those_of_the_machine_in_no_group() {
    assert_eq!(*component("db").effective_groups(), [Group::Ready]);
    assert_eq!(*component("disk").scope(Scope::Machine).effective_groups(), []);
}

#[test]
fn the_maximum_age_defaults_to_three_intervals_and_a_timeout() {
    assert_eq!(component("db").effective_max_age(), Duration::from_secs(32));
    assert_eq!(component("db").max_age(Duration::from_secs(7)).effective_max_age(), Duration::from_secs(7));
}
