//! Claims about Kubernetes' own spellings.

use wellkept_health::{End, NewMaintenance};

use super::*;

async fn public(checker: &Checker, names: Names, path: &str) -> (u16, String) {
    get(doors(checker, Access::loopback_only(), names).public(), OPEN, path).await
}

/// A service with a failing required component, a failing optional one, and a healthy one of another group.
async fn failing() -> Checker {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let refused = || async { Outcome::fail(Reason::Refused, "connection refused").with_detail("10.0.0.1:5432") };
    checker.register(Component::new("a db", AnyCheck::from_fn(refused))).unwrap();
    checker.register(Component::new("cache", AnyCheck::from_fn(refused)).optional()).unwrap();
    let loops = Component::new("loop", AnyCheck::from_fn(async || ())).scope(Scope::Process).groups([Group::Live]);
    checker.register(loops).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    checker
}

#[tokio::test(start_paused = true)]
async fn verbose_has_one_line_for_each_check_and_withholds_reasons() {
    let checker = failing().await;
    let (code, lines) = public(&checker, Names::Shown, "/readyz?verbose").await;
    assert_eq!(code, 503);
    insta::assert_snapshot!(lines, @"
    [+]startup ok
    [+]shutdown ok
    [-]a db failed: reason withheld
    [+]cache ok: counts as degraded
    readyz check failed
    ");
    let operators = doors(&checker, Access::loopback_only(), Names::Shown).public();
    let (_, lines) = get(operators, LOOPBACK, "/readyz?verbose").await;
    assert!(lines.contains("[-]a db failed: refused: connection refused\n"), "{lines}");
    insta::assert_snapshot!(public(&checker, Names::Shown, "/livez?verbose=1").await.1, @"
    [+]runtime ok
    [+]heartbeats ok
    [+]loop ok
    livez check passed
    ");
    checker.begin_draining();
    let (_, lines) = public(&checker, Names::Shown, "/readyz?verbose&exclude=a+db").await;
    insta::assert_snapshot!(lines, @"
    [+]startup ok
    [-]shutdown failed: draining
    [+]a db excluded: ok
    [+]cache ok: counts as degraded
    readyz check failed
    ");
}

#[tokio::test(start_paused = true)]
async fn what_is_excluded_does_not_fail_the_probe_and_a_wrong_name_is_told() {
    let checker = failing().await;
    assert_eq!(public(&checker, Names::Shown, "/readyz").await, (503, "not ready".to_owned()));
    assert_eq!(public(&checker, Names::Shown, "/readyz?exclude=cache").await, (503, "not ready".to_owned()));
    assert_eq!(public(&checker, Names::Shown, "/readyz?exclude=cache&exclude=a%20db").await, (200, "ok".to_owned()));
    assert_eq!(public(&checker, Names::Shown, "/healthz?exclude=a+db").await.0, 200);
    let (code, lines) = public(&checker, Names::Shown, "/readyz?verbose&exclude=x%0A%5B%2B%5D&exclude=a%20db").await;
    assert_eq!(code, 200);
    assert!(lines.ends_with("warn: nothing is excluded by \"x\\n[+]\"\nreadyz check passed\n"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn one_check_is_asked_by_its_path_in_the_groups_that_see_it() {
    let checker = failing().await;
    let asked = async |path: &str| public(&checker, Names::Shown, path).await;
    assert_eq!(asked("/readyz/a%20db").await, (503, "failed: reason withheld".to_owned()));
    assert_eq!(asked("/readyz/cache").await.0, 503, "by itself it fails, whatever it counts");
    assert_eq!(asked("/livez/loop").await, (200, "ok".to_owned()));
    assert_eq!(asked("/healthz/loop").await.0, 200);
    for other in ["/livez/cache", "/readyz/loop", "/healthz/x", "/readyz/", "/readyz/%00", "/readyz/a/b"] {
        assert_eq!(asked(other).await.0, 404, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn hidden_names_are_hidden_here_too() {
    let checker = failing().await;
    let (code, lines) = public(&checker, Names::Hidden, "/readyz?verbose&exclude=a+db").await;
    assert_eq!(code, 503, "leaving a check out would tell that there is one");
    insta::assert_snapshot!(lines, @r#"
    [+]startup ok
    [+]shutdown ok
    warn: nothing is excluded by "a db"
    readyz check failed
    "#);
    for path in ["/readyz/cache", "/healthz/cache", "/health/component/cache"] {
        assert_eq!(public(&checker, Names::Hidden, path).await.0, 404, "{path}");
    }
    for path in ["/health.json", "/v1/health", "/health?format=spring", "/health?format=nagios", "/health/group/ready"]
    {
        let (_, body) = public(&checker, Names::Hidden, path).await;
        assert!(!body.contains("cache") && !body.contains("a db"), "{path}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_backend_is_told_to_the_public_in_any_format() {
    let checker = failing().await;
    let formats =
        ["health+json", "spring", "microprofile", "aspnet", "aspnet-plain", "terminus", "v1", "nagios", "plain"];
    let paths = ["/health", "/health/ready", "/health/live", "/health/startup", "/health/group/ready"];
    let formats = paths.iter().flat_map(|path| formats.iter().map(move |format| format!("{path}?format={format}")));
    let paths =
        ["/readyz?verbose", "/readyz/cache", "/health.json", "/v1/health", "/health/component/cache?detailed=true"];
    for path in formats.chain(paths.map(ToOwned::to_owned)) {
        let (_, body) = public(&checker, Names::Shown, &path).await;
        for private in ["10.0.0.1", "refused"] {
            assert!(!body.contains(private), "{path} shows {private}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_in_maintenance_is_left_out_and_shown() {
    let checker = failing().await;
    let wanted = NewMaintenance::of_components(["a db", "loop"], End::Open, "new disks");
    checker.begin_maintenance(wanted).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    let (code, lines) = public(&checker, Names::Shown, "/readyz?verbose").await;
    assert_eq!(code, 200);
    assert!(lines.contains("[+]a db left out: maintenance\n"), "{lines}");
    assert_eq!(public(&checker, Names::Shown, "/readyz/a%20db").await.0, 503, "no traffic is to come to it");
    assert_eq!(public(&checker, Names::Shown, "/livez/loop").await.0, 200, "it is no reason for a restart");
}
