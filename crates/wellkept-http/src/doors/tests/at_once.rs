//! Claims about the answers that come without a router.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use wellkept_health::Origins;

use super::*;
use crate::doors::{PROBES, PROBES_BELOW};

const PLAIN: [&str; 8] =
    ["/livez", "/readyz", "/healthz", "/health", "/health/live", "/health/startup", "/health/ready", "/ready"];

fn at_once(doors: &Doors, path: &str, headers: &[(&str, &str)]) -> Option<Response> {
    let mut given = HeaderMap::new();
    for (name, value) in headers {
        given.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    doors.at_once()(&Method::GET, &path.parse().unwrap(), &given)
}

async fn read(response: Response) -> (StatusCode, HeaderMap, String) {
    let (mut parts, body) = response.into_parts();
    // Hyper writes it for a body whose length is known; axum does so before.
    parts.headers.remove(CONTENT_LENGTH);
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_plainest_probes_are_answered_without_a_router() {
    let doors = doors(&checker().await, Access::default(), Names::Shown);
    for path in PLAIN {
        assert!(at_once(&doors, path, &[("accept", "*/*"), ("user-agent", "kube-probe/1.31")]).is_some(), "{path}");
    }
    let hidden = Doors::new(
        doors.checker().clone(),
        Shutdown::new(wellkept_shutdown::Settings::default()).0,
        Access::default(),
        Names::Hidden,
        Metrics::new(),
    );
    assert!(at_once(&hidden, "/health/ready", &[]).is_none(), "it lists names");
    assert!(at_once(&hidden, "/readyz", &[]).is_some());
}

/// A request to the public doors; most are plain.
fn request() -> impl Strategy<Value = (String, Vec<(&'static str, &'static str)>)> {
    let others = PROBES.iter().map(ToString::to_string).chain(PROBES_BELOW.map(|above| format!("{above}cache")));
    let path =
        prop_oneof![3 => select(PLAIN.to_vec()).prop_map(str::to_owned), 1 => select(others.collect::<Vec<_>>())];
    let queries = vec!["?", "?verbose", "?exclude=cache", "?detailed=true", "?format=spring", "?format=none"];
    let query = prop_oneof![3 => Just(""), 1 => select(queries)];
    let headers = vec![
        ("accept", "*/*"),
        ("accept", "application/health+json"),
        ("accept", "application/vnd.spring-boot.actuator.v3+json"),
        ("content-length", "0"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        (Origins::ASKER, "somebody"),
        ("x-forwarded-for", "192.0.2.1"),
        ("authorization", "Bearer a-secret-of-some-length"),
    ];
    (path, query, subsequence(headers, 0..3)).prop_map(|(path, query, headers)| (path + query, headers))
}

#[test]
fn what_is_answered_without_a_router_is_what_the_router_would_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let checker = runtime.block_on(checker());
    let token = Access::with_token(Token::parse("a-secret-of-some-length").unwrap());
    let (shown, hidden) = (doors(&checker, token.clone(), Names::Shown), doors(&checker, token, Names::Hidden));
    let failing = runtime.block_on(async {
        let checker = super::checker().await;
        checker.begin_draining();
        doors(&checker, Access::default(), Names::Shown)
    });
    let answered = std::cell::Cell::new(0);
    proptest!(|((path, headers) in request(), which in 0_usize..3)| {
        let doors = [&shown, &hidden, &failing][which];
        runtime.block_on(async {
            let Some(quick) = at_once(doors, &path, &headers) else { return Ok(()) };
            answered.set(answered.get() + 1);
            let slow = ask(doors.public(), OPEN, &path, &headers).await;
            prop_assert_eq!(read(quick).await, read(slow).await, "{} {:?}", path, headers);
            Ok(())
        })?;
    });
    assert!(answered.get() > 50, "only {} were compared", answered.get());
}

#[tokio::test(start_paused = true)]
async fn what_asks_for_more_is_left_to_the_router() {
    let doors = doors(&checker().await, Access::default(), Names::Shown);
    for path in ["/metrics", "/health.json", "/livez/cache", "/livez?verbose", "/livez?", "/", "/orders", "/livez/"] {
        assert!(at_once(&doors, path, &[]).is_none(), "{path}");
    }
    for header in [
        ("accept", "application/health+json"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        (Origins::ASKER, "somebody"),
    ] {
        assert!(at_once(&doors, "/health", &[header]).is_none(), "{header:?}");
    }
    for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
        assert!(doors.at_once()(&method, &"/livez".parse().unwrap(), &HeaderMap::new()).is_none(), "{method}");
    }
}
