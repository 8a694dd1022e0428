//! Claims about components that are other services: who sees what they consist of, and what other services are told.

use wellkept_health::{Identity, Origins, Part, Status};

use super::*;

/// A service that looks at another one, `stock`, which consists of parts and stands on a third service.
async fn looking() -> Checker {
    let clock = TokioClock::start();
    let settings = Settings { identity: Identity::named("orders"), clock, ..Settings::new("orders") };
    let (checker, engine) = Checker::new(settings);
    let stock = || async {
        let disk = Part::new("<b>disk</b>", Status::Unhealthy).with_reason(Some("threshold")).with_message("3 % free");
        let shelves = Part::new("shelves", Status::Unhealthy).with_parts(vec![disk]);
        let (stock, shelves_service) = (Identity::named("stock"), Identity::named("shelves"));
        let told = format!("unhealthy {stock}>shelves:{shelves_service}; healthy {stock}");
        Outcome::fail(Reason::Upstream, "it says that it is unhealthy")
            .with_parts(vec![Part::new("db", Status::Healthy), shelves])
            .with_origins(told.parse().unwrap())
    };
    checker.register(Component::new("stock", AnyCheck::from_fn(stock))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    checker
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_another_service_stand_below_it_for_operators_and_nowhere_else() {
    let checker = looking().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let (_, detailed) = get(doors.admin(), LOOPBACK, "/health/detailed").await;
    let detailed: serde_json::Value = serde_json::from_str(&detailed).unwrap();
    insta::assert_snapshot!(detailed["components"]["stock"]["components"], @r#"{"db":{"status":"healthy"},"shelves":{"status":"unhealthy","components":{"<b>disk</b>":{"status":"unhealthy","reason":"threshold","message":"3 % free"}}}}"#);
    let (_, page) = get(doors.admin(), LOOPBACK, "/").await;
    assert!(page.contains(r#"<th scope="row" class="part level-1">shelves</th>"#), "{page}");
    assert!(page.contains(r#"<th scope="row" class="part level-2">&lt;b&gt;disk&lt;/b&gt;</th>"#), "{page}");
    for path in ["/health", "/health/ready", "/ready", "/readyz", "/metrics"] {
        let (_, public) = get(doors.public(), OPEN, path).await;
        assert!(!public.contains("shelves") && !public.contains("disk"), "{path} shows a part: {public}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_service_is_told_where_a_status_comes_from_and_the_public_by_no_foreign_name() {
    let checker = looking().await;
    let header = async |doors: &Doors, bound: &str, path: &str, asker: &[(&str, &str)]| {
        let response = ask(doors.operators(), bound, path, asker).await;
        response.headers().get(Origins::HEADER).map(|value| value.to_str().unwrap().to_owned())
    };
    let asker = [(Origins::ASKER, "0123456789ab")];
    let shown = doors(&checker, Access::loopback_only(), Names::Shown);
    let hidden = doors(&checker, Access::loopback_only(), Names::Hidden);
    let (orders, stock, shelves) = (Identity::named("orders"), Identity::named("stock"), Identity::named("shelves"));
    for path in [
        "/health",
        "/health/ready",
        "/ready",
        "/readyz",
        "/readyz?verbose",
        "/healthz",
        "/health.json",
        "/v1/health",
        "/health/group/ready",
    ] {
        assert_eq!(header(&shown, OPEN, path, &[]).await, None, "{path} tells who did not ask");
        let (own, word) = (format!("healthy {orders}"), "unhealthy");
        let to_operators =
            format!("{word} {orders}>stock:{stock}>shelves:{shelves}; {own}; healthy {orders}>stock:{stock}");
        assert_eq!(header(&shown, LOOPBACK, path, &asker).await, Some(to_operators), "{path}");
        let to_everyone = format!("{word} {orders}>stock:{stock}>{shelves}; {own}; healthy {orders}>stock:{stock}");
        assert_eq!(header(&shown, OPEN, path, &asker).await, Some(to_everyone), "{path}");
        let without_names = format!("{word} {orders}>{stock}>{shelves}; {own}");
        assert_eq!(header(&hidden, OPEN, path, &asker).await, Some(without_names.clone()), "{path}");
        let who_is_looked_at = [(Origins::ASKER, &*stock.to_string())];
        let with_the_way_back = format!("{without_names}; healthy {orders}>{stock}");
        assert_eq!(header(&hidden, OPEN, path, &who_is_looked_at).await, Some(with_the_way_back), "{path}");
    }
    let component = "/health/component/stock";
    assert_eq!(header(&shown, OPEN, component, &[]).await, None, "it tells who did not ask");
    let to_operators = header(&shown, LOOPBACK, "/health", &asker).await;
    assert_eq!(header(&shown, LOOPBACK, component, &asker).await, to_operators, "all of it is that component's");
    let to_everyone = header(&shown, OPEN, "/health", &asker).await;
    assert_eq!(header(&shown, OPEN, component, &asker).await, to_everyone);
    assert_eq!(header(&hidden, OPEN, component, &asker).await, None, "there is none where names are hidden");
    let excluding = "/readyz?exclude=stock";
    assert_eq!(header(&shown, LOOPBACK, excluding, &asker).await, None, "origins know of no exclusion");
    for path in ["/health/live", "/livez", "/livez?verbose", "/health/startup", "/metrics"] {
        assert_eq!(header(&shown, LOOPBACK, path, &asker).await, None, "{path} is about this process only");
    }
}
